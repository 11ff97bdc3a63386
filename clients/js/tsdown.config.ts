import { defineConfig } from 'tsdown';

// The package: ESM, CommonJS, and types for both.
export default defineConfig({
  entry: ['src/index.ts'],
  format: ['esm', 'cjs'],
  platform: 'neutral',
  target: 'es2022',
  fixedExtension: true,
  dts: true,
  clean: true,
  outputOptions: { exports: 'named' },
});
