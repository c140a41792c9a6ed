SELECT json_object(
    'revision', (SELECT count(*) FROM messages WHERE user_id = :user_id),
    'messages', json_group_array(json_object('id', id, 'body', body))) AS document
FROM (SELECT * FROM messages WHERE user_id = :user_id ORDER BY id DESC LIMIT 20);
