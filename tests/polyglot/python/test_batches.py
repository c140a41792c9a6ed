"""BatchGet, BatchSet, BatchDelete."""

import grpc

from conftest import refusal
from larder.v1 import cache_service_pb2 as pb

COUNT = 400


def refs(namespace, numbers):
    return [
        pb.KeyRef(namespace=namespace, key=f"k{number}", params={"n": str(number)})
        for number in numbers
    ]


def store(larder, namespace, numbers, value):
    items = [
        pb.SetRequest(namespace=ref.namespace, key=ref.key, params=ref.params, value=value(number))
        for number, ref in zip(numbers, refs(namespace, numbers))
    ]
    answer = larder.BatchSet(pb.BatchSetRequest(items=items))
    assert [result.result for result in answer.results] == [pb.SET_RESULT_STORED] * len(items)
    return [result.version for result in answer.results]


def test_order(larder, namespace):
    stored = range(0, COUNT, 2)
    versions = store(larder, namespace, stored, lambda number: pb.Value(text=f"value {number}"))
    # In reverse order, with every other key missing and one key duplicated.
    asked = [*reversed(range(COUNT)), 0]
    chunks = larder.BatchGet(pb.BatchGetRequest(keys=refs(namespace, asked)))
    results = [result for chunk in chunks for result in chunk.results]
    assert len(results) == len(asked)
    for number, result in zip(asked, results):
        if number % 2:
            assert result.outcome == pb.OUTCOME_MISS and not result.HasField("value"), number
        else:
            assert (result.outcome, result.value.text) == (pb.OUTCOME_HIT, f"value {number}")
            assert result.entry.version == versions[number // 2]


def test_large_answers_are_split_into_chunks(larder, namespace):
    large = bytes(16 * 1024)
    for half in (range(COUNT // 2), range(COUNT // 2, COUNT)):
        store(
            larder, namespace, half, lambda number: pb.Value(data=number.to_bytes(4, "big") + large)
        )
    chunks = list(larder.BatchGet(pb.BatchGetRequest(keys=refs(namespace, range(COUNT)))))
    # 6.3 MiB in total, above every client's default message size limit.
    assert len(chunks) > 1
    assert max(chunk.ByteSize() for chunk in chunks) < 2 * 1024 * 1024
    numbers = [
        int.from_bytes(result.value.data[:4], "big") for chunk in chunks for result in chunk.results
    ]
    assert numbers == list(range(COUNT))


def test_small_answer_is_one_message(larder, namespace):
    assert len(list(larder.BatchGet(pb.BatchGetRequest(keys=refs(namespace, range(10)))))) == 1


def test_delete(larder, namespace):
    store(larder, namespace, range(0, COUNT, 2), lambda number: pb.Value(text="x"))
    request = pb.BatchDeleteRequest(keys=refs(namespace, range(COUNT)))
    assert list(larder.BatchDelete(request).existed) == [number % 2 == 0 for number in range(COUNT)]
    assert not any(larder.BatchDelete(request).existed)


def test_items_are_independent(larder, namespace):
    def item(key, **condition):
        return pb.SetRequest(namespace=namespace, key=key, value=pb.Value(text="new"), **condition)

    larder.Set(item("there"))
    items = [item("there", if_absent=True), item("fresh", if_absent=True)]
    results = [result.result for result in larder.BatchSet(pb.BatchSetRequest(items=items)).results]
    assert results == [pb.SET_RESULT_CONDITION_NOT_MET, pb.SET_RESULT_STORED]


def test_invalid_item_fails_the_batch(larder, namespace):
    items = [
        pb.SetRequest(namespace=namespace, key=key, value=pb.Value(text="x"))
        for key in ("valid", "")
    ]
    bad_request, _ = refusal(
        grpc.StatusCode.INVALID_ARGUMENT, larder.BatchSet, pb.BatchSetRequest(items=items)
    )
    assert [violation.field for violation in bad_request.field_violations] == ["items[1].key"]
    assert larder.Get(pb.GetRequest(namespace=namespace, key="valid")).outcome == pb.OUTCOME_MISS

    too_many = pb.BatchDeleteRequest(keys=refs(namespace, range(1001)))
    bad_request, info = refusal(grpc.StatusCode.INVALID_ARGUMENT, larder.BatchDelete, too_many)
    assert info.reason == "BATCH_TOO_LARGE"
    assert bad_request.field_violations[0].field == "keys"
    assert "1000" in bad_request.field_violations[0].description
