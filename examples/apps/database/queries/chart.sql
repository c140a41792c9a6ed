SELECT json_group_array(json_array(day, kilograms)) AS document
FROM (SELECT day, round(sum(kilograms), 1) AS kilograms FROM pickups
      WHERE material = :material GROUP BY day ORDER BY day);
