SELECT json_object(
    'days', json_group_array(json_object(
        'day', day, 'pickups', pickups, 'kilograms', kilograms, 'users', users))) AS document
FROM (SELECT day, count(*) AS pickups, round(sum(kilograms), 1) AS kilograms,
             count(DISTINCT user_id) AS users
      FROM pickups GROUP BY day ORDER BY day DESC LIMIT 30);
