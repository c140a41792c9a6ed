SELECT json_object(
    'id', id, 'name', name, 'email', email, 'city', city, 'role', role,
    'revision', revision) AS document
FROM users WHERE id = :user_id;
