// Two experiments with scores, summaries and repetitions, then pairwise by names and by results.
import { Client } from "langsmith";
import { evaluate } from "langsmith/evaluation";

const client = new Client();
const dataset = await client.createDataset("capitals", { description: "smoke", metadata: { owner: "qa" } });
await client.createExamples([0, 1, 2].map((n) => ({
  dataset_id: dataset.id, inputs: { n }, outputs: { twice: 2 * n }, metadata: { n }, split: n ? "test" : "train",
})));

const correct = ({ outputs, referenceOutputs }) => ({ key: "correct", score: outputs.twice === referenceOutputs.twice });
const third = () => ({ key: "third", score: 1 / 3 });
const broken = () => { throw new Error("no judge"); };
const passed = ({ outputs }) => ({ key: "passed", score: outputs.length });
const options = {
  data: "capitals", client, evaluators: [correct, third, broken], summaryEvaluators: [passed], maxConcurrency: 4,
};
const double = ({ n }) => ({ twice: n < 2 ? 2 * n : 0 });
const first = await evaluate(double, { ...options, experimentPrefix: "double", numRepetitions: 2 });
const second = await evaluate(() => ({ twice: -1 }), { ...options, experimentPrefix: "wrong" });
const two = await evaluate(() => ({ twice: 2 }), { ...options, experimentPrefix: "two" });
await client.awaitPendingTraceBatches();

const prefer = ({ runs, example }) => ({
  key: "pref",
  scores: Object.fromEntries(runs.map((run) => [run.id, Number(run.outputs?.twice === example.outputs.twice)])),
});
await evaluate([second.experimentName, two.experimentName], { evaluators: [prefer], client });
await evaluate([second, two], { evaluators: [prefer], client, experimentPrefix: "by-results" });
await client.awaitPendingTraceBatches();

const projects = {};
for (const one of [first, second, two]) {
  projects[one.experimentName.split("-")[0]] =
    await client.readProject({ projectName: one.experimentName, includeStats: true });
}
console.log(JSON.stringify({ dataset: dataset.id, projects, rows: first.results.length }));
