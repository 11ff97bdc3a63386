// vitest's global set-up: one stack for all files of the project, handed to them by `inject('stack')`.

import type { TestProject } from 'vitest/node';
import { startStack, type Stack } from './harness';

declare module 'vitest' {
  export interface ProvidedContext {
    stack: Stack;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { stack, stop } = await startStack();
  project.provide('stack', stack);
  return stop;
}
