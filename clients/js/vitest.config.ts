import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

// The package as it is published, under the name that users write.
const alias = { '@relaybox/client': fileURLToPath(new URL('dist/index.mjs', import.meta.url)) };

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['test/*.test.ts'] } },
      {
        resolve: { alias },
        test: { name: 'integration', include: ['test/integration/*.test.ts'], globalSetup: 'test/stack.ts', testTimeout: 20_000, hookTimeout: 30_000 },
      },
    ],
  },
});
