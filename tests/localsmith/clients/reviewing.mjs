// A review queue with a rubric, its runs and its items; prints what the client reads back.
import { Client } from "langsmith";
import { traceable } from "langsmith/traceable";

const client = new Client();
const agent = traceable(async (question) => question.toUpperCase(), { name: "agent", client });
for (const question of ["lima", "quito", "bogota"]) await agent(question);
await client.awaitPendingTraceBatches();
const project = await client.readProject({ projectName: "js" });
const runs = [];
for await (const run of client.listRuns({ projectId: project.id, isRoot: true, order: "asc" })) runs.push(run);
const all = async (list) => { const found = []; for await (const item of list) found.push(item); return found; };

await client.createFeedbackConfig({ feedbackKey: "correct", feedbackConfig: {
  type: "categorical", categories: [{ value: 0, label: "no" }, { value: 1, label: "yes" }] } });
await client.addFeedbackCategories("correct", [{ value: 0.5, label: "partly" }]);
const queue = await client.createAnnotationQueue({
  name: "capitals", description: "first", rubricInstructions: "Is it right?", rubricItems: [{ feedback_key: "correct" }],
});
await client.updateAnnotationQueue(queue.id, { description: "second" });
await client.addRunsToAnnotationQueue(queue.id, runs.slice(0, 2).map((run) => run.id));
await client.addRunsToAnnotationQueue(queue.id, [
  { runId: runs[2].id, sessionId: project.id, startTime: runs[2].start_time },
]);
const second = await client.getRunFromAnnotationQueue(queue.id, 1);
const size = await client.getSizeFromAnnotationQueue(queue.id);
const items = await all(client.annotationQueues.items.list(queue.id, { status: "needs_my_review", page_size: 2 }));
await client.annotationQueues.items.createStatus(items[0].id, { status: "completed" });
const archived = await all(client.annotationQueues.items.list(queue.id, { status: "archived" }));
await client.deleteRunFromAnnotationQueue(queue.id, runs[1].id);
const left = await all(client.listRunsFromAnnotationQueue(queue.id, { status: "needs_my_review" }));
const read = await client.readAnnotationQueue(queue.id);
const listed = await all(client.listAnnotationQueues({ name: "capitals" }));
const configs = await all(client.listFeedbackConfigs({ feedbackKeys: ["correct"] }));
console.log(JSON.stringify({
  second: second.outputs, size: size.size, items: items.length, archived: archived.map((item) => item.run_id === runs[0].id),
  left: left.map((run) => run.outputs), description: read.description, rubric: read.rubric_items,
  instructions: read.rubric_instructions, listed: listed.map((item) => item.total_runs),
  labels: configs[0].feedback_config.categories.map((category) => category.label),
}));
