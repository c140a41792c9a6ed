SELECT json_object(
    'id', id, 'name', name, 'city', city, 'phone', phone, 'revision', revision,
    'locations', (
        SELECT json_group_array(json_object(
            'id', id, 'street', street, 'opens', opens, 'closes', closes))
        FROM locations WHERE company_id = companies.id)) AS document
FROM companies WHERE id = :company_id;
