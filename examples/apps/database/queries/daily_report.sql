SELECT json_object(
    'day', max(day), 'pickups', count(*), 'kilograms', round(sum(kilograms), 1),
    'users', count(DISTINCT user_id), 'companies', count(DISTINCT company_id)) AS document
FROM pickups;
