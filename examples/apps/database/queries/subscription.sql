SELECT json_object('user_id', id, 'tier', tier, 'active', json('true')) AS document
FROM users WHERE id = :user_id;
