SELECT json_object(
    'user_id', user_id, 'balance', balance, 'revision', revision,
    'changes', (
        SELECT json_group_array(json_object('change', change, 'balance', balance))
        FROM (SELECT * FROM point_changes WHERE user_id = points.user_id
              ORDER BY id DESC LIMIT 20))) AS document
FROM points WHERE user_id = :user_id;
