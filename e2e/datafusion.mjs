// Runs SQL in Apache DataFusion, the query engine of InfluxDB 3. Standard input is a
// JSON array of statements in ASCII (the package fails at others), standard output one of
// what they answer: a table as text, or an error.
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';

// To optimise 30 MB of code takes longer than to run it once as it is.
setFlagsFromString('--liftoff-only');

// The package is for bundlers; this is what they would do.
const read = (name) => readFileSync(new URL(`../.cache/npm/node_modules/datafusion-wasm/${name}`, import.meta.url));
const wasm = await import(`data:text/javascript;base64,${read('datafusion_wasm_bg.js').toString('base64')}`);
const module = new WebAssembly.Module(read('datafusion_wasm_bg.wasm'));
wasm.__wbg_set_wasm(new WebAssembly.Instance(module, { './datafusion_wasm_bg.js': wasm }).exports);

console.log = () => {}; // it greets
const context = wasm.DataFusionContext.new();
// Plans of several partitions need threads, which there are none of.
await context.execute_sql('SET datafusion.execution.target_partitions = 1');
const answers = [];
for (const statement of JSON.parse(readFileSync(0, 'utf8'))) {
  try {
    answers.push(await context.execute_sql(statement));
  } catch (error) {
    answers.push(String(error));
  }
}
process.stdout.write(JSON.stringify(answers));
