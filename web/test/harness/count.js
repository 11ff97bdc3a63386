// A reporter that writes how many tests passed and failed, for run.js.
import { writeFileSync } from 'node:fs';

export default class Count {
  onTestRunEnd(modules, errors) {
    let passed = 0, failed = errors.length;
    for (const module of modules) {
      failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') passed++;
        if (state === 'failed') failed++;
      }
    }
    if (process.env.PAGE_COUNTS) writeFileSync(process.env.PAGE_COUNTS, JSON.stringify({ passed, failed }));
  }
}
