// Writes the generated files. With --check, reports files that are not current and exits with 1.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

import { alerting } from './alerting.js';
import { api } from './api.js';
import { jobs } from './jobs.js';
import { jobsInfluxDB } from './jobs-influxdb.js';
import { transcripts } from './transcripts.js';

const folder = new URL('../', import.meta.url);

/**
 * Fields that the builders always set. They would move links into a menu, belong to other kinds of variables,
 * or to tables of other versions of Grafana.
 */
const unwanted = ['placement', 'auto', 'auto_min', 'auto_count', 'footer'];

const json = (builder) => {
  const dashboard = builder.build();
  dashboard.panels.forEach((panel, i) => (panel.id = i + 1)); // links to a panel need an ID
  const parts = dashboard.panels.flatMap((panel) => [panel.options ?? {}, ...(panel.links ?? [])]);
  for (const it of [...dashboard.links, ...dashboard.templating.list, ...parts]) {
    unwanted.forEach((name) => delete it[name]);
  }
  return JSON.stringify(dashboard, null, 2) + '\n';
};

const files = {
  'dashboards/jobs.json': json(jobs()),
  'dashboards/transcripts.json': json(transcripts()),
  'dashboards/api.json': json(api()),
  'dashboards/jobs-influxdb.json': json(jobsInfluxDB()),
  'provisioning/alerting/rules.yml': alerting(new URL('../prometheus/', folder)),
};

for (const [name, text] of Object.entries(files)) {
  const file = new URL(name, folder);
  if (!process.argv.includes('--check')) {
    writeFileSync(file, text);
  } else if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
    console.error(`deploy/grafana/${name} is not current; generate it with: make dashboards`);
    process.exitCode = 1;
  }
}
