import { Suspense } from 'react';
import { cacheLife, cacheTag } from 'next/cache';
import { connection } from 'next/server';

async function stamp() {
  'use cache';
  cacheTag('stamps');
  cacheLife({ stale: 60, revalidate: 600, expire: 3600 });
  return `${process.pid}-${Math.random()}`;
}

async function Stamp() {
  // The page is made for each request; only its stamp is cached.
  await connection();
  return <p id="stamp">{await stamp()}</p>;
}

export default function Page() {
  return (
    <Suspense fallback={<p>...</p>}>
      <Stamp />
    </Suspense>
  );
}
