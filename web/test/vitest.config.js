import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['unit/*.test.js', 'browser/*.test.js'],
    globalSetup: './harness/setup.js',
    // One browser and one pair of nodes at a time: the machine has two cores.
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    retry: 0,
  },
});
