UPDATE points SET balance = max(0, balance - :points), revision = revision + 1
WHERE user_id = :user_id
RETURNING json_object('user_id', user_id, 'balance', balance, 'revision', revision) AS document;
