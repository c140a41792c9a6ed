-- About 300 KB of JSON.
SELECT json_object('pickups', json_group_array(json_object(
    'id', id, 'user_id', user_id, 'company_id', company_id, 'status', status,
    'material', material, 'kilograms', kilograms, 'day', day))) AS document
FROM (SELECT * FROM pickups ORDER BY id LIMIT 2500);
