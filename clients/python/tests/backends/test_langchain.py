"""The cache for LangChain, beyond what its own suite checks."""

from __future__ import annotations

import asyncio
import math

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.load import dumps
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.prompts import PromptTemplate

from larder_cache import Client, LarderError
from larder_cache.backends.langchain import LarderCache


@pytest.fixture
def cache(target, namespace):
    return LarderCache(target, namespace=namespace, preset="local")


@pytest.fixture
def raw(target, namespace):
    """The same namespace without the backend."""
    with Client(target, preset="local") as client:
        yield client.namespace(namespace)


def test_a_chat_model_answers_once(cache):
    model = FakeListChatModel(responses=["first", "second"], cache=cache)
    assert model.invoke("prompt").content == model.invoke("prompt").content == "first"
    assert model.invoke("another").content == "second"
    assert asyncio.run(model.ainvoke("prompt")).content == "first"


@pytest.mark.parametrize(
    "generation",
    [
        ChatGeneration(message=AIMessage("hi", response_metadata={"tokens": 5})),
        Generation(text="é" * 2000, generation_info={"logprob": -math.inf}),
    ],
)
def test_answers_come_back_as_they_were(cache, generation):
    cache.update("prompt", "model", [generation])
    assert cache.lookup("prompt", "model") == [generation]


def test_the_answers_of_one_model_are_cleared(cache):
    for model in ("one", "two"):
        cache.update("prompt", model, [Generation(text=model)])
    cache.clear(llm_string="one")
    assert cache.lookup("prompt", "one") is None
    assert cache.lookup("prompt", "two") == [Generation(text="two")]
    asyncio.run(cache.aclear(llm_string="two"))
    assert cache.lookup("prompt", "two") is None


def test_the_ttl(target, namespace, raw):
    LarderCache(target, namespace=namespace, ttl="1h").update("p", "m", [Generation(text="a")])
    [listed] = raw.list_keys()
    assert 3500 < raw.get(listed.key).ttl_remaining <= 3600


@pytest.mark.parametrize(
    "stored",
    [
        "text",
        {"not": "a list"},
        ["no JSON"],
        [5],
        # A class that only looks harmless: what is stored must not choose classes.
        [dumps(PromptTemplate.from_template("{a}"))],
    ],
)
def test_what_is_no_answer_is_a_miss(cache, raw, stored):
    cache.update("prompt", "model", [Generation(text="answer")])
    [listed] = raw.list_keys()
    raw.set(listed.key, stored)
    assert cache.lookup("prompt", "model") is None


def test_an_answer_that_is_too_large_is_not_stored(cache):
    cache.update("prompt", "model", [Generation(text="x" * 2 * 2**20)])
    assert cache.lookup("prompt", "model") is None
    asyncio.run(cache.aupdate("prompt", "model", [Generation(text="x" * 2 * 2**20)]))


def test_without_a_server(stopped, namespace):
    cache = LarderCache(stopped, namespace=namespace)
    assert cache.lookup("prompt", "model") is None
    cache.update("prompt", "model", [Generation(text="answer")])
    assert asyncio.run(cache.alookup("prompt", "model")) is None
    with pytest.raises(LarderError):
        cache.clear()
    with pytest.raises(LarderError):
        LarderCache(stopped, namespace=namespace, on_error="raise").lookup("prompt", "model")
