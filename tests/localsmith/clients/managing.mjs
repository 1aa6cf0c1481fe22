// What the client does with datasets, projects and feedback; prints what it reads back.
import { Client } from "langsmith";

const client = new Client();
const all = async (list) => { const found = []; for await (const item of list) found.push(item); return found; };
const csv = await client.uploadCsv({
  csvFile: new Blob(['question,answer,place\n"Peru, the capital?",Lima,south\nChile?,"Santiago\nde Chile",south\n']),
  fileName: "capitals.csv", inputKeys: ["question"], outputKeys: ["answer"], description: "from a file", name: "csv",
});
const rows = await all(client.listExamples({ datasetId: csv.id, order: "id" }));

const dataset = await client.createDataset("plain");
const [a, b] = await client.createExamples([{ dataset_id: dataset.id, inputs: { n: 1 }, outputs: { n: 1 } },
  { dataset_id: dataset.id, inputs: { n: 2 }, outputs: { n: 2 } }]);
const before = (await client.readDatasetVersion({ datasetId: dataset.id, tag: "latest" })).as_of;
await client.updateDatasetSplits({ datasetId: dataset.id, splitName: "hard", exampleIds: [a.id] });
await client.updateDatasetSplits({ datasetId: dataset.id, splitName: "base", exampleIds: [a.id], remove: true });
const splits = await client.listDatasetSplits({ datasetId: dataset.id });
const hard = await all(client.listExamples({ datasetId: dataset.id, splits: ["hard"] }));
await client.deleteExample(b.id);
const c = await client.createExample({ n: 3 }, { n: 3 }, { datasetId: dataset.id });
const after = (await client.readDatasetVersion({ datasetId: dataset.id, tag: "latest" })).as_of;
const diff = await client.diffDatasetVersions({ datasetId: dataset.id, fromVersion: before, toVersion: after });

const project = await client.createProject({ projectName: "p", metadata: { a: 1 }, description: "d" });
await client.updateProject(project.id, { description: "e" });
const read = await client.readProject({ projectName: "p" });
const datasets = [];
for await (const item of client.datasets.listV2({ name: "plain" })) datasets.push([item.name, item.example_count]);
const sessions = [];
for await (const item of client.sessions.listV2({ name: "p" })) sessions.push([item.name, item.type]);
console.log(JSON.stringify({
  csv: rows.map((row) => [row.inputs, row.outputs]).sort((x, y) => (x[0].question < y[0].question ? -1 : 1)),
  splits, hard: hard.map((row) => row.inputs),
  diff: [diff.examples_modified.includes(a.id), diff.examples_added.includes(c.id), diff.examples_removed.includes(b.id)],
  project: [read.description, read.extra.metadata.a, read.run_count],
  datasets, sessions,
}));
