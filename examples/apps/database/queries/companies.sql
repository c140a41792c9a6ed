-- What the list shows of a company does not change with its telephone number.
SELECT json_object('companies', json_group_array(json_object(
    'id', id, 'name', name, 'city', city))) AS document
FROM companies;
