-- No row is returned if the user has analyzed the address before.
INSERT INTO analyses (user_id, address) VALUES (:user_id, :address)
ON CONFLICT DO NOTHING
RETURNING json_object(
    'id', id,
    'revision', (SELECT count(*) FROM analyses WHERE user_id = :user_id)) AS document;
