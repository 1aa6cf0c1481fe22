// Three nested calls, one that fails, a run made by hand and its feedback; prints what the client reads back.
import { Client } from "langsmith";
import { traceable } from "langsmith/traceable";

const client = new Client({ autoBatchTracing: process.env.BATCHES !== "none" });
const usage_metadata = { input_tokens: 5, output_tokens: 7, total_tokens: 12 };
const model = traceable(async (question) => ({ answer: question.toUpperCase(), usage_metadata }), {
  name: "model", run_type: "llm", client, metadata: { ls_model_name: "m1" },
});
const tool = traceable(async (question) => model(question), { name: "tool", run_type: "tool", client });
const agent = traceable(async (question) => (await tool(question)).answer, { name: "agent", tags: ["smoke"], client });
const broken = traceable(async () => { throw new Error("no target"); }, { name: "broken", client });

const answer = await agent("lima");
await broken("x").catch(() => {});
await client.createRun({ name: "by hand", run_type: "chain", inputs: { q: 1 }, project_name: "js", id: "01a0239a-9bcb-7c97-8b21-5eea9a79a094" });
await client.awaitPendingTraceBatches();

const roots = {};
for await (const run of client.listRuns({ projectName: "js", isRoot: true })) roots[run.name] = run;
await client.createFeedback(roots.agent.id, "correct", { score: 1 / 3, comment: "so so" });
await client.flush();
const feedback = [];
for await (const mark of client.listFeedback({ runIds: [roots.agent.id] })) feedback.push([mark.key, mark.score]);
const tree = await client.readRun(roots.agent.id, { loadChildRuns: true });
console.log(JSON.stringify({
  answer,
  names: [tree.name, tree.child_runs[0].name, tree.child_runs[0].child_runs[0].name],
  tokens: tree.total_tokens,
  tags: tree.tags,
  outputs: tree.outputs,
  error: roots.broken.error,
  roots: Object.keys(roots).sort(),
  feedback,
}));
