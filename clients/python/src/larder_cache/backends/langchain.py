"""A cache of model answers for LangChain.

For example:

    from langchain_core.globals import set_llm_cache

    set_llm_cache(LarderCache("larder:50051", namespace="llm", ttl="1d"))
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from langchain_core._api import LangChainBetaWarning
from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.load import dumps, loads
from langchain_core.load.serializable import Serializable
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk

from larder_cache import FOREVER
from larder_cache.backends._clients import shared_async_client, shared_client
from larder_cache.backends._objects import note_undecodable
from larder_cache.backends._storing import astore, store

__all__ = ["LarderCache"]

# `loads` is marked as beta; no user of this module can do anything about that.
warnings.filterwarnings("ignore", category=LangChainBetaWarning, module=__name__)

# The classes that are made from what is stored: none of them can call or fetch anything.
_ALLOWED: list[type[Serializable]] = [
    Generation,
    GenerationChunk,
    ChatGeneration,
    ChatGenerationChunk,
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
]


class LarderCache(BaseCache):
    """A namespace of Larder as the cache of LangChain; its asynchronous methods use no threads.

    `ttl` is that of the answers, as for `larder_cache.Namespace.set`; without one they stay for as
    long as the server permits (7 days by default). Answers are stored as JSON; only generations
    and messages are made from it. `target` and `client_options` are those of
    `larder_cache.Client`, such as `on_error="raise"`.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        namespace: str = "langchain",
        ttl: Any = FOREVER,
        **client_options: Any,
    ) -> None:
        self._target = target
        self._name = namespace
        self._ttl = FOREVER if ttl is None else ttl
        self._client_options = client_options

    @cached_property
    def _namespace(self) -> Any:
        return shared_client(self._target, self._client_options).namespace(self._name)

    @cached_property
    def _async_namespace(self) -> Any:
        return shared_async_client(self._target, self._client_options).namespace(self._name)

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """Returns the answers to a prompt, or None."""
        namespace = self._namespace
        return _answers(namespace, namespace.get(_key(prompt, llm_string)))

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Stores the answers to a prompt."""
        store(self._namespace, _key(prompt, llm_string), _encode(return_val), self._ttl)

    def clear(self, *, llm_string: str | None = None, **kwargs: Any) -> None:
        """Removes all answers, or those of one configuration of a model.

        Raises if the server is away.
        """
        if llm_string is None:
            self._namespace.invalidate_namespace()
        else:
            self._namespace.invalidate(globs=[_model(llm_string) + ":*"])

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """See `lookup`."""
        namespace = self._async_namespace
        return _answers(namespace, await namespace.get(_key(prompt, llm_string)))

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """See `update`."""
        key = _key(prompt, llm_string)
        await astore(self._async_namespace, key, _encode(return_val), self._ttl)

    async def aclear(self, *, llm_string: str | None = None, **kwargs: Any) -> None:
        """See `clear`."""
        if llm_string is None:
            await self._async_namespace.invalidate_namespace()
        else:
            await self._async_namespace.invalidate(globs=[_model(llm_string) + ":*"])


def _answers(namespace: Any, result: Any) -> list[Any] | None:
    if not result.found:
        return None
    try:
        return _decode(result.value)
    except (ValueError, KeyError, NotImplementedError, ImportError) as error:
        note_undecodable(namespace, error)
        return None


def _model(llm_string: str) -> str:
    return hashlib.sha256(llm_string.encode()).hexdigest()[:32]


def _key(prompt: str, llm_string: str) -> str:
    """Digests, because prompts are long. The part before the colon finds a model's answers."""
    return f"{_model(llm_string)}:{hashlib.sha256(prompt.encode()).hexdigest()}"


def _encode(generations: Sequence[Generation]) -> list[str]:
    # A text per generation: logarithms of probabilities may be -inf, which JSON does not have.
    return [dumps(each) for each in generations]


def _decode(stored: Any) -> list[Any]:
    if not isinstance(stored, list) or not all(isinstance(each, str) for each in stored):
        raise ValueError("answers must be a list of text")
    return [loads(each, allowed_objects=_ALLOWED) for each in stored]
