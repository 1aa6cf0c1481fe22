// A suite of langsmith/vitest: one test that passes, one that fails, with feedback.
import * as ls from "langsmith/vitest";
import { expect } from "vitest";

ls.describe("capitals", () => {
  ls.test("knows Peru", { inputs: { question: "Peru?" }, referenceOutputs: { answer: "Lima" } },
    async ({ inputs, referenceOutputs }) => {
      ls.logOutputs({ answer: "Lima", asked: inputs.question });
      ls.logFeedback({ key: "correct", score: 1 });
      expect(referenceOutputs.answer).toBe("Lima");
    });
  ls.test("knows Chile", { inputs: { question: "Chile?" }, referenceOutputs: { answer: "Santiago" } },
    async ({ referenceOutputs }) => {
      ls.logOutputs({ answer: "Lima" });
      expect("Lima").toBe(referenceOutputs.answer);
    });
});
