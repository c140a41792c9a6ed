"""Runs the steps of a case."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from typing import Any

from larder_cache import LarderError

from .callers import CLIENT_TIMES, arguments, as_data, error_as_data
from .control import Control
from .functions import DecoratedFunctions
from .grammar import Mismatch, expand, fits, match, match_step, seconds
from .loaders import CountedLoader, Gate, LoaderFailed
from .spans import in_span
from .watching import Watching

# Seconds for a state that must come, and between two looks.
WAIT = 10.0
PAUSE = 0.02
CASE_LIMIT = 60.0


class CaseRun:
    """One case on one kind of client."""

    def __init__(self, case: dict[str, Any], caller: Any, place: Any) -> None:
        self._case = case
        self._caller = caller
        self._place = place
        self._bound: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}
        self._handles: dict[str, Any] = {}
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._functions: dict[str, DecoratedFunctions] = {}
        self._watches: dict[str, Watching] = {}
        specs = case.get("loaders", {})
        self._gates = {spec["gate"]: Gate() for spec in specs.values() if "gate" in spec}
        self._loaders = {
            name: CountedLoader(spec, self._gates.get(spec.get("gate")))
            for name, spec in specs.items()
        }

    async def run(self) -> None:
        """Runs all steps. Raises `Mismatch` with the step that is not as expected."""
        try:
            await self._open()
            for number, step in enumerate(self._case["steps"], 1):
                try:
                    await asyncio.wait_for(self._step(step), CASE_LIMIT)
                except Exception as error:
                    error.add_note(f"{self._case['id']}: step {number}: {step}")
                    raise
        finally:
            await self._end()

    async def _open(self) -> None:
        case = self._case
        for name, options in (case.get("clients") or {"a": {}}).items():
            self._clients[name] = self._new_client(options)
        default = case.get("namespace", case["id"].replace("/", "-"))
        handles = {name: {} for name in self._clients} | case.get("handles", {})
        for name, settings in handles.items():
            if settings == {} and default == "":
                continue
            self._handles[name] = self._new_handle(name, settings, default)

    def _new_client(self, options: dict[str, Any]) -> Any:
        given = {"preset": "local", **expand(options, self._bound)}
        for name in CLIENT_TIMES & given.keys():
            given[name] = seconds(given[name])
        target = given.pop("target", None)
        target = self._place.target(self._case.get("via", "server"), target)
        return self._caller.client_class(target, **given)

    def _new_handle(self, name: str, settings: dict[str, Any], default: Any) -> Any:
        given = dict(settings)
        client = self._clients[given.pop("client", name if name in self._clients else "a")]
        namespace = expand(given.pop("namespace", default), self._bound)
        if "ttl" in given:
            given["ttl"] = seconds(given["ttl"])
        return client.namespace(namespace, **given)

    async def _end(self) -> None:
        for gate in self._gates.values():
            gate.open()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._place.restore()
        for client in self._clients.values():
            await asyncio.wait_for(self._caller.call(client.close), WAIT)
        for watch in self._watches.values():
            await watch.end()
        await self._caller.close()

    async def _step(self, step: dict[str, Any]) -> None:
        if "for_each" in step:
            plain = {name: value for name, value in step.items() if name != "for_each"}
            for item in expand(step["for_each"], self._bound):
                self._bound["$each"] = item
                await self._step(plain)
            return
        if step.get("do") == "watch" and "as" in step:
            watch = Watching(self._caller, self._handle(step.get("handle", "a")))
            self._watches[step["as"]] = watch
            watch.begin(step["args"])
            return
        if "as" in step:
            plain = {name: value for name, value in step.items() if name != "as"}
            calls = self._call(plain)
            self._tasks[step["as"]] = asyncio.ensure_future(calls)
            # The call begins before the next step.
            await asyncio.sleep(0.02)
            return
        wait = step.get("wait_until")
        limit = WAIT if wait is True else seconds(wait) or 0.0
        deadline = time.monotonic() + limit
        while True:
            try:
                return await self._once(step)
            except (Mismatch, LarderError):
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(PAUSE)

    async def _once(self, step: dict[str, Any]) -> None:
        begun = time.monotonic()
        kind = next(name for name in _KINDS if name in step)
        if kind == "do" or kind == "join":
            call = self._call(step) if kind == "do" else self._tasks.pop(step["join"])
            await self._check(step, call)
        else:
            await getattr(self, f"_do_{kind}")(step)
        took = time.monotonic() - begun
        if took > (seconds(step.get("within")) or CASE_LIMIT):
            raise Mismatch(f"the step took {took:.3f} s")
        if took < (seconds(step.get("at_least")) or 0.0):
            raise Mismatch(f"the step took only {took:.3f} s")

    async def _check(self, step: dict[str, Any], call: Any) -> None:
        expected = step.get("raises")
        try:
            result = await call
        except (Exception, asyncio.CancelledError) as error:
            if expected is None:
                raise
            self._check_error(expected, error)
            return
        if expected is not None:
            raise Mismatch(f"nothing was raised: {result}")
        if "expect" in step:
            match_step(step["expect"], result, self._bound)
        for name, field in step.get("bind", {}).items():
            self._bound[name] = result[field]

    def _check_error(self, expected: dict[str, Any], error: BaseException) -> None:
        if expected.get("cancelled"):
            kinds: Any = asyncio.CancelledError
        elif expected.get("loader"):
            kinds = LoaderFailed
        else:
            kinds = (LarderError, ValueError, TypeError)
        if not isinstance(error, kinds):
            raise error
        data = error_as_data(error)
        if expected.get("message", "").lower() not in data["message"].lower():
            raise Mismatch(f"the message is {data['message']!r}") from error
        named = ("class", "code", "reason", "retry_after")
        fields = {name: expected[name] for name in named if name in expected}
        match(fields, data, "error", self._bound)

    async def _call(self, step: dict[str, Any]) -> Any:
        copies = step.get("copies")
        if "traced" in step:
            with in_span() as self._bound[step["traced"]]:
                return await self._one_call(step)
        if copies is None:
            return await self._one_call(step)
        return list(await asyncio.gather(*(self._one_call(step) for _ in range(copies))))

    async def _one_call(self, step: dict[str, Any]) -> Any:
        operation, handle = step["do"], step.get("handle", "a")
        args = arguments(expand(step.get("args", {}), self._bound))
        if operation in ("connect", "close"):
            return as_data(await self._caller.call(getattr(self._clients[handle], operation)))
        if operation == "new_client":
            client = self._new_client(args)
            await self._caller.call(client.close)
            return {}
        namespace = self._handle(handle)
        if operation == "call":
            return await self._call_function(namespace, handle, args)
        if operation == "get_and_change":
            result = await self._caller.call(namespace.get, args["key"])
            # A client may make its values unchangeable.
            with contextlib.suppress(TypeError, AttributeError):
                result.value[args["path"]].append(args["value"])
            return as_data(result)
        if operation == "watch":
            return await self._caller.collect(namespace.watch, **args)
        if operation == "list_keys":
            items = await self._caller.collect(namespace.list_keys, **args)
            return {"sorted": sorted({item.key for item in items})}
        if "loader" in args:
            args["loader"] = self._caller.loader(self._loaders[args["loader"]])
        return as_data(await self._caller.call(getattr(namespace, operation), **args))

    async def _call_function(self, namespace: Any, handle: str, args: dict[str, Any]) -> Any:
        functions = self._functions.get(handle)
        if functions is None:
            functions = DecoratedFunctions(namespace, self._caller.is_async)
            self._functions[handle] = functions
        name = args["function"]
        value = await self._caller.call(functions[name], *args["positional"], **args["named"])
        return {"value": value, "runs": functions.runs[name]}

    def _handle(self, name: str) -> Any:
        if name not in self._handles:
            # A name that is refused: the error is that of the step.
            self._handles[name] = self._new_handle(name, {}, self._case["namespace"])
        return self._handles[name]

    async def _do_cancel(self, step: dict[str, Any]) -> None:
        self._tasks[step["cancel"]].cancel()

    async def _do_open(self, step: dict[str, Any]) -> None:
        self._gates[step["open"]].open()

    async def _do_loading(self, step: dict[str, Any]) -> None:
        deadline = time.monotonic() + WAIT
        for name, number in step["loading"].items():
            while self._loaders[name].begun < number:
                if time.monotonic() >= deadline:
                    raise Mismatch(f"{name} has begun {self._loaders[name].begun} times")
                await asyncio.sleep(0.005)

    async def _do_loads(self, step: dict[str, Any]) -> None:
        for name, number in step["loads"].items():
            match(number, self._loaders[name].begun, f"loads of {name}", self._bound)
        for name, keys in step.get("loaded_keys", {}).items():
            match(keys, self._loaders[name].keys, f"keys of {name}", self._bound)

    async def _do_advance(self, step: dict[str, Any]) -> None:
        time_passed = seconds(step["advance"]) or 0.0
        if step.get("real"):
            await asyncio.sleep(time_passed)
        else:
            await self._place.advance(time_passed)

    async def _do_server(self, step: dict[str, Any]) -> None:
        await asyncio.to_thread(self._place.control.server, step["server"])

    async def _do_fault(self, step: dict[str, Any]) -> None:
        delay = int((seconds(step.get("delay")) or 0.0) * 1000)
        self._place.control.do("fault", kind=step["fault"], delay=delay)

    async def _do_connections(self, step: dict[str, Any]) -> None:
        match(step["connections"], self._place.connections(), "connections", self._bound)

    async def _do_script(self, step: dict[str, Any]) -> None:
        self._place.control.do("script", rules=step["script"])

    async def _do_calls(self, step: dict[str, Any]) -> None:
        wanted = dict(step["calls"])
        method = wanted.pop("method", None)
        answer = self._place.control.do("calls", **({"method": method} if method else {}))
        calls = answer["calls"]
        for name, field in step.get("bind", {}).items():
            self._bound[name] = answer[field]
        if "count" in wanted:
            match(wanted["count"], answer["count"], "number of calls", self._bound)
        for expected in [wanted["each"]] if "each" in wanted else []:
            if not calls or not all(fits(expected, call, self._bound) for call in calls):
                raise Mismatch(f"not every call fits {expected}: {calls}")
        if "first" in wanted:
            number = wanted.get("number", 0)
            if number >= len(calls):
                raise Mismatch(f"there are {len(calls)} calls of {method}")
            match(wanted["first"], calls[number], "call", self._bound)

    async def _do_watched(self, step: dict[str, Any]) -> None:
        watch = self._watches[step["watched"]]
        if step.get("ended") and not watch.ended:
            raise Mismatch("the iterator goes on")
        left = list(watch.events)
        for expected in step.get("expect", []):
            while left and not fits(expected, left[0], self._bound):
                left.pop(0)
            if not left:
                raise Mismatch(f"no {expected} in {watch.events}")
            left.pop(0)
        if "never" in step and any(fits(step["never"], one, self._bound) for one in watch.events):
            raise Mismatch(f"{step['never']} is in {watch.events}")

    async def _do_counters(self, step: dict[str, Any]) -> None:
        counted = self._clients["a"].counters()
        for name, number in step["counters"].items():
            match(number, counted[name.removeprefix("larder.client.")], name, self._bound)


_KINDS = (
    "do",
    "join",
    "cancel",
    "open",
    "loading",
    "loads",
    "advance",
    "server",
    "fault",
    "connections",
    "script",
    "calls",
    "counters",
    "watched",
)


class RealServer:
    """The real server, with what the control program offers."""

    features = frozenset({"server", "proxy", "gateway", "calls", "near_cache", "pass_on"})

    def __init__(self, control: Control) -> None:
        self.control = control
        self._accepted = 0

    def prepare(self, needs: list[str]) -> None:
        """Clears what a former case has left."""
        if {"calls", "gateway", "proxy"} & set(needs):
            # A call that a caught error refers to keeps its channel open.
            gc.collect()
            self.control.clear()
            self._accepted = self.control.do("connections")["accepted"]

    def target(self, via: str, target: str | None) -> str:
        """The address for a client."""
        if target is None:
            return self.control.addresses[via]
        for name, address in self.control.addresses.items():
            target = target.replace(f"{{{name}}}", address)
        return target

    def connections(self) -> dict[str, int]:
        """Connections since the begin of the case, and the open ones."""
        counts = self.control.do("connections")
        return {**counts, "accepted": counts["accepted"] - self._accepted}

    async def advance(self, time_passed: float) -> None:
        """Lets real time pass: the server's clock cannot be set."""
        await asyncio.sleep(time_passed)

    def restore(self) -> None:
        """The server runs again."""
        with contextlib.suppress(RuntimeError):
            self.control.restore()
