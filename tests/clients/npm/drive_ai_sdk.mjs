// The AI SDK. The same cells and the same line of JSON as the programs in ../python: see driving.py there.

import { createGoogleGenerativeAI } from '@ai-sdk/google';
import { anthropic } from '@ai-sdk/anthropic';
import { openai } from '@ai-sdk/openai';
import { generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const [kind, binding, spent] = process.argv.slice(2);
const { GOOGLE_GEMINI_BASE_URL, GEMINI_API_KEY } = process.env;
const google = createGoogleGenerativeAI({ baseURL: `${GOOGLE_GEMINI_BASE_URL}/v1beta`, apiKey: GEMINI_API_KEY });
const model = { openai, 'openai-chat': openai.chat, anthropic, google }[kind];
const look = tool({
  description: 'Look at something.',
  inputSchema: z.object({ at: z.string() }),
  execute: async ({ at }) => `the ${at} is calm`,
});

const plain = async (name) => (await generateText({ model: model(name), prompt: 'hello' })).text;

// After the loop a second question, with all that was said before: a client that stores refers to its items.
const tools = async (name) => {
  const asked = { model: model(name), tools: { look }, stopWhen: stepCountIs(3) };
  const messages = [{ role: 'user', content: 'call the tool' }];
  const { response, steps } = await generateText({ ...asked, messages });
  if (steps.length !== 2) throw new Error(`${steps.length} steps`);
  const more = [...messages, ...response.messages, { role: 'user', content: 'and now?' }];
  return (await generateText({ ...asked, messages: more })).text;
};

const stream = async (name) => {
  const pieces = [];
  let failed;
  const answer = streamText({ model: model(name), prompt: 'hello', onError: ({ error }) => (failed = error) });
  for await (const piece of answer.textStream) pieces.push(piece);
  if (failed || pieces.length < 3) throw failed ?? new Error(`${pieces.length} pieces`);
  return pieces.join('');
};

const told = {};
for (const [cell, run, name] of [
  ['plain', plain, binding],
  ['tools', tools, binding],
  ['stream', stream, binding],
  ['spent', plain, spent],
]) {
  try {
    told[cell] = { said: await run(name) };
  } catch (error) {
    told[cell] = { failed: `${error.name}: ${error.message}`, trace: error.stack };
  }
}
console.log(JSON.stringify(told));
