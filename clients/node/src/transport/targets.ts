import { experimental, status } from '@grpc/grpc-js';
import { isIP } from 'node:net';

/** Where a client connects to. */
export interface Target {
  /** In the syntax of grpc-js. */
  readonly uri: string;
  /** Whether all addresses are on this machine. */
  readonly loopback: boolean;
}

const LIST_SCHEME = 'larder-addresses';
type ListenerOf = experimental.ResolverListener;
type Endpoints = experimental.Endpoint[];

function isLoopback(host: string): boolean {
  const name = host.toLowerCase();
  if (name === 'localhost' || name.endsWith('.localhost')) return true;
  return isIP(name) === 4 ? name.startsWith('127.') : name === '::1' || name === '0:0:0:0:0:0:0:1';
}

/**
 * Reads a target: `host:port`, `dns:///host:port`, `unix:path`, or several addresses separated by
 * commas.
 *
 * @throws TypeError with the part that is wrong
 */
export function parseTarget(target: string): Target {
  if (/^unix(-abstract)?:/.test(target)) return { uri: target, loopback: true };
  const scheme = /^([a-z][a-z0-9+.-]*):\/\/(?:[^/]*)\/(.*)$/.exec(target);
  if (scheme !== null && scheme[1] !== 'dns') {
    throw new TypeError(`target: the scheme ${scheme[1]} is not supported`);
  }
  const list = (scheme?.[2] ?? target.replace(/^dns:(?!\d+$)/, '')).split(',');
  const hosts = list.map((address) => {
    const parts = experimental.splitHostPort(address.trim());
    if (parts === null || parts.host === '' || parts.port === undefined) {
      throw new TypeError(`target: expected host:port, got ${JSON.stringify(address)}`);
    }
    if (parts.port < 1 || parts.port > 65535) {
      throw new TypeError(`target: ${parts.port} is not a port`);
    }
    return parts.host;
  });
  const loopback = hosts.every(isLoopback);
  if (list.length === 1) {
    return { uri: scheme === null ? `dns:${list[0]!.trim()}` : target, loopback };
  }
  registerList();
  return { uri: `${LIST_SCHEME}:${list.map((address) => address.trim()).join(',')}`, loopback };
}

/** Resolves several addresses, each as grpc-js would, to one list. */
class ListResolver implements experimental.Resolver {
  private readonly found: (Endpoints | undefined)[];
  private readonly children: experimental.Resolver[];

  constructor(target: experimental.GrpcUri, listener: ListenerOf, options: object) {
    const addresses = target.path.split(',');
    this.found = addresses.map(() => undefined);
    let failed = 0;
    this.children = addresses.map((path, index) => {
      const onResult: ListenerOf = (endpoints) => {
        if (endpoints.ok) this.found[index] = endpoints.value;
        else failed += 1;
        const all = this.found.flatMap((each) => each ?? []);
        const complete = this.found.filter((each) => each !== undefined).length;
        // An address without an answer does not hold up the others once each was tried.
        if (complete < addresses.length && complete + failed < addresses.length) return true;
        if (all.length > 0) {
          return listener(experimental.statusOrFromValue(all), {}, null, '');
        }
        return listener(
          experimental.statusOrFromError({
            code: status.UNAVAILABLE,
            details: `no address of ${target.path} can be resolved`,
          }),
          {}, null, '',
        );
      };
      return experimental.createResolver({ scheme: 'dns', path }, onResult, options);
    });
  }

  updateResolution(): void {
    for (const child of this.children) child.updateResolution();
  }

  destroy(): void {
    for (const child of this.children) child.destroy();
  }

  static getDefaultAuthority(target: experimental.GrpcUri): string {
    return target.path.split(',')[0]!;
  }
}

let registered = false;
function registerList(): void {
  if (registered) return;
  experimental.registerResolver(LIST_SCHEME, ListResolver);
  registered = true;
}
