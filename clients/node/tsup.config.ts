import { readdirSync } from 'node:fs';
import { defineConfig } from 'tsup';

// Every module directly in src is an entry of the package; what is not public is in a folder.
const entry = readdirSync('src').filter((name) => name.endsWith('.ts')).map((name) => `src/${name}`);

export default defineConfig({
  entry,
  format: ['esm', 'cjs'],
  dts: true,
  target: 'node20',
  platform: 'node',
  splitting: true,
  clean: true,
  sourcemap: false,
});
