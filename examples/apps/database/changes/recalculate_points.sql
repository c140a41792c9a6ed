-- Every tenth user had a wrong balance.
UPDATE points SET balance = balance + 1, revision = revision + 1 WHERE user_id % 10 = 0
RETURNING json_array(user_id, revision) AS document;
