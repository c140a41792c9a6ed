UPDATE users SET city = :city, revision = revision + 1 WHERE id = :user_id
RETURNING json_object('id', id, 'city', city, 'revision', revision) AS document;
