INSERT INTO messages (user_id, body) VALUES (:user_id, :body)
RETURNING json_object(
    'id', id,
    'revision', (SELECT count(*) FROM messages WHERE user_id = :user_id)) AS document;
