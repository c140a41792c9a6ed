-- `revision` is the number of all pickups of the user at the company, whatever their status.
SELECT json_object(
    'revision', (SELECT count(*) FROM pickups
                 WHERE user_id = :user_id AND company_id = :company_id),
    'pickups', json_group_array(json_object(
        'id', id, 'status', status, 'material', material, 'kilograms', kilograms,
        'day', day))) AS document
FROM (SELECT * FROM pickups
      WHERE user_id = :user_id AND company_id = :company_id
        AND (:status = 'all' OR status = :status)
      ORDER BY id DESC LIMIT 50);
