// Asks by npm's `openai`, and prints what it got as JSON: node judge.cjs BASE_URL MODEL
const OpenAI = require("openai");

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "Which team answers this customer? My parcel never came." }];
const asked = { model, messages, temperature: 0, max_tokens: 100 };
const parameters = {
  type: "object",
  properties: { team: { type: "string", enum: ["billing", "shipping"] } },
  required: ["team"],
  additionalProperties: false,
};

async function main() {
  const whole = await client.chat.completions.create({ ...asked, max_tokens: 12 });
  const stream = client.chat.completions.stream({ ...asked, max_tokens: 12 });
  const streamed = await stream.finalContent();
  const format = { type: "json_schema", json_schema: { name: "route", strict: true, schema: parameters } };
  const parsed = await client.chat.completions.parse({ ...asked, response_format: format });
  const tools = [{ type: "function", function: { name: "route", parameters } }];
  const called = await client.chat.completions.create({ ...asked, tools, tool_choice: "required" });
  const refused = await client.chat.completions.create({ ...asked, model: "nobody" }).catch((error) => error);
  return {
    whole: whole.choices[0].message.content,
    streamed,
    parsed: parsed.choices[0].message.parsed,
    call: called.choices[0].message.tool_calls[0].function,
    refused: { kind: refused.constructor.name, status: refused.status, code: refused.code },
  };
}

main().then((found) => console.log(JSON.stringify(found)));
