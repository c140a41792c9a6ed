SELECT json_object(
    'revision', sum(revision),
    'companies', json_group_array(json_object(
        'id', id, 'name', name, 'city', city, 'revision', revision))) AS document
FROM companies;
