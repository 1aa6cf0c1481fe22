// LangChain.js traces a chain with a model by environment variables alone.
import { Client } from "langsmith";
import { awaitAllCallbacks } from "@langchain/core/callbacks/promises";
import { StringOutputParser } from "@langchain/core/output_parsers";
import { ChatPromptTemplate } from "@langchain/core/prompts";
import { FakeListChatModel } from "@langchain/core/utils/testing";

const prompt = ChatPromptTemplate.fromMessages([["system", "Answer in one word."], ["user", "{question}"]]);
const chain = prompt.pipe(new FakeListChatModel({ responses: ["Lima"] })).pipe(new StringOutputParser());
const answer = await chain.invoke({ question: "Capital of Peru?" }, { tags: ["smoke"], metadata: { thread_id: "t-1" } });
await awaitAllCallbacks();
const client = new Client();
const runs = [];
for await (const run of client.listRuns({ projectName: "js" })) runs.push([run.run_type, run.status]);
console.log(JSON.stringify({ answer, runs: runs.sort() }));
