import { cacheLife, cacheTag } from 'next/cache';

async function time() {
  'use cache';
  cacheTag('pages');
  cacheLife({ stale: 60, revalidate: 600, expire: 3600 });
  return `${process.pid}-${Math.random()}`;
}

export default async function Page() {
  return <p id="stamp">{await time()}</p>;
}
