SELECT json_object(
    'revision', (SELECT count(*) FROM pickups WHERE user_id = :user_id),
    'days', json_group_array(json_object(
        'day', day, 'pickups', pickups, 'kilograms', kilograms))) AS document
FROM (SELECT day, count(*) AS pickups, round(sum(kilograms), 1) AS kilograms FROM pickups
      WHERE user_id = :user_id AND (:historical = 1 OR day >= '2026-11-01')
      GROUP BY day ORDER BY day);
