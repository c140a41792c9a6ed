SELECT json_object(
    'revision', count(*),
    'analyses', json_group_array(json_object('id', id, 'address', address))) AS document
FROM (SELECT * FROM analyses WHERE user_id = :user_id ORDER BY id DESC);
