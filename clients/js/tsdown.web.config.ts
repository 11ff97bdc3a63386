import { defineConfig } from 'tsdown';

// The demo page's copy: one ES module, readable, served by the node itself.
export default defineConfig({
  entry: { sdk: 'src/index.ts' },
  format: ['esm'],
  platform: 'browser',
  target: 'es2022',
  dts: false,
  clean: false,
  outDir: '../../web',
  outExtensions: () => ({ js: '.js' }),
});
