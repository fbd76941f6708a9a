-- The rows of a store that the code of schema 2 wrote, by its own statements; schema 1 has the same tables.
INSERT INTO changes VALUES(1,'private',1,'CREATED',1893553445678901);
INSERT INTO changes VALUES(2,'public',1,'CREATED',1893553445678901);
INSERT INTO changes VALUES(3,'role',1,'CREATED',1893553445678901);
INSERT INTO changes VALUES(4,'hidden',1,'CREATED',1893553445678901);
INSERT INTO changes VALUES(5,'expired',1,'CREATED',1893553445678901);
INSERT INTO changes VALUES(6,'child',1,'CREATED',1893553445678901);
INSERT INTO changes VALUES(7,'long',1,'CREATED',1893553445678901);
INSERT INTO changes VALUES(8,'deleted',1,'CREATED',1893553445678901);
INSERT INTO changes VALUES(9,'deleted',2,'DELETED',1893553446678901);
INSERT INTO changes VALUES(10,'revised',1,'CREATED',1893553445678901);
INSERT INTO changes VALUES(11,'revised',2,'UPDATED',1893553446678901);
INSERT INTO memories VALUES(1,'private',1,1,109,1893553445678901,1893553445678901,NULL,NULL,NULL,NULL,NULL,'ann','PRIVATE','[]','default','x','x','','text/plain','model-a',X'68','["hot"]',NULL,'{"cups":2.0}','green tea');
INSERT INTO memories VALUES(2,'public',2,1,70,1893553445678901,1893553445678901,NULL,NULL,NULL,NULL,NULL,'bob','PUBLIC','[]','default','',NULL,'','text/plain','model-a',NULL,'[]',NULL,'{}','black tea');
INSERT INTO memories VALUES(3,'role',3,1,85,1893553445678901,1893553445678901,NULL,NULL,NULL,NULL,NULL,'bob','ROLE','["NURSE"]','default','',NULL,'','text/plain','model-a',NULL,'[]',NULL,'{}','tea for nurses');
INSERT INTO memories VALUES(4,'hidden',4,1,71,1893553445678901,1893553445678901,NULL,NULL,NULL,NULL,NULL,'bob','PRIVATE','[]','default','',NULL,'','text/plain','model-a',NULL,'[]',NULL,'{}','tea of bob');
INSERT INTO memories VALUES(5,'expired',1,1,68,1893553445678901,1893553445678901,NULL,NULL,NULL,1893553445678901,NULL,'ann','PRIVATE','[]','default','',NULL,'','text/plain','model-a',NULL,'[]',NULL,'{}','old tea');
INSERT INTO memories VALUES(6,'child',1,1,107,1893553445678901,1893553445678901,NULL,NULL,NULL,NULL,NULL,'ann','PRIVATE','[]','default','',NULL,'','text/plain','model-a',NULL,'[]','{"uri":"file:a","kind":"note","parent_memory_ids":["private","absent"]}','{}','tea with milk');
INSERT INTO memories VALUES(7,'long',1,1,461,1893553445678901,1893553445678901,NULL,NULL,NULL,NULL,NULL,'ann','PRIVATE','[]','default','',NULL,'','text/plain','model-a',NULL,'[]',NULL,'{}','lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea lemon tea ');
INSERT INTO memories VALUES(8,'deleted',1,2,69,1893553445678901,1893553446678901,NULL,NULL,NULL,NULL,1893553446678901,'ann','PRIVATE','[]','default','',NULL,'','text/plain','model-a',NULL,'[]',NULL,'{}','cold tea');
INSERT INTO memories VALUES(10,'revised',1,2,71,1893553445678901,1893553446678901,NULL,NULL,NULL,NULL,NULL,'ann','PRIVATE','[]','default','',NULL,'','text/plain','model-a',NULL,'[]',NULL,'{}','second tea');
INSERT INTO partition_roles VALUES('NURSE',3);
INSERT INTO partitions VALUES(1,'PRIVATE','ann','[]');
INSERT INTO partitions VALUES(2,'PUBLIC','','[]');
INSERT INTO partitions VALUES(3,'ROLE','bob','["NURSE"]');
INSERT INTO partitions VALUES(4,'PRIVATE','bob','[]');
INSERT INTO settings VALUES('id_key',X'1111111111111111111111111111111111111111111111111111111111111111');
INSERT INTO settings VALUES('token_key',X'2222222222222222222222222222222222222222222222222222222222222222');
INSERT INTO settings VALUES('tokenizer',1);
INSERT INTO spaces VALUES(1,'model-a',3);
INSERT INTO terms VALUES(1,'green
tea',X'0100000001000000');
INSERT INTO terms VALUES(2,'black
tea',X'0100000001000000');
INSERT INTO terms VALUES(3,'tea
for
nurse',X'010000000100000001000000');
INSERT INTO terms VALUES(4,'tea
of
bob',X'010000000100000001000000');
INSERT INTO terms VALUES(5,'old
tea',X'0100000001000000');
INSERT INTO terms VALUES(6,'tea
with
milk',X'010000000100000001000000');
INSERT INTO terms VALUES(7,'lemon
tea',X'2800000028000000');
INSERT INTO terms VALUES(8,'cold
tea',X'0100000001000000');
INSERT INTO terms VALUES(10,'second
tea',X'0100000001000000');
INSERT INTO vectors VALUES(1,1,1,X'0000803F0000000000000000');
INSERT INTO vectors VALUES(2,1,1,X'000000000000803F00000000');
INSERT INTO vectors VALUES(3,1,1,X'F304353FF304353F00000000');
INSERT INTO vectors VALUES(4,1,1,X'0000803F0000000000000000');
INSERT INTO vectors VALUES(5,1,1,X'0000803F0000000000000000');
INSERT INTO vectors VALUES(6,1,1,X'F304353F00000000F304353F');
INSERT INTO vectors VALUES(7,1,1,X'77D6883E77D6083FB3414D3F');
INSERT INTO vectors VALUES(8,1,1,X'0000803F0000000000000000');
INSERT INTO vectors VALUES(10,2,1,X'00000000000000000000803F');
INSERT INTO main.sqlite_sequence VALUES ('changes', 11);
