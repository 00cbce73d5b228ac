// Runs SQL in Apache DataFusion, the query engine of InfluxDB 3. Standard input is a JSON
// array of statements in ASCII (the package fails on other characters). Standard output is
// a JSON array of their results: a table as text, or an error.
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';

// Optimising 30 MB of code takes longer than running it once without.
setFlagsFromString('--liftoff-only');

// The package is made for bundlers. This code does their work.
const read = (name) => readFileSync(new URL(`../.cache/npm/node_modules/datafusion-wasm/${name}`, import.meta.url));
const wasm = await import(`data:text/javascript;base64,${read('datafusion_wasm_bg.js').toString('base64')}`);
const module = new WebAssembly.Module(read('datafusion_wasm_bg.wasm'));
wasm.__wbg_set_wasm(new WebAssembly.Instance(module, { './datafusion_wasm_bg.js': wasm }).exports);

console.log = () => {}; // the package prints a greeting
const context = wasm.DataFusionContext.new();
// Plans with several partitions need threads, which are not available.
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
