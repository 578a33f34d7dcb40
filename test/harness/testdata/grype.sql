-- A database of grype's schema 6 with two invented vulnerabilities of Alpine 3.20. Where a table is missing, grype
-- finds nothing and does not fail.
CREATE TABLE affected_cpe_handles (id integer PRIMARY KEY AUTOINCREMENT,vulnerability_id integer NOT NULL,cpe_id integer,blob_id integer);
CREATE TABLE affected_package_handles (id integer PRIMARY KEY AUTOINCREMENT,vulnerability_id integer NOT NULL,operating_system_id integer,package_id integer,blob_id integer);
CREATE TABLE blobs (id integer PRIMARY KEY AUTOINCREMENT,value text NOT NULL);
CREATE TABLE cpes (id integer PRIMARY KEY AUTOINCREMENT,part text NOT NULL,vendor text,product text NOT NULL,edition text,language text,software_edition text,target_hardware text,target_software text,other text);
CREATE TABLE db_metadata (build_timestamp datetime NOT NULL,model integer NOT NULL,revision integer NOT NULL,addition integer NOT NULL);
CREATE TABLE operating_system_specifier_overrides (alias text,version text,version_pattern text,codename text,channel text,replacement text,replacement_major_version text,replacement_minor_version text,replacement_label_version text,replacement_channel text,rolling numeric,applicable_client_db_schemas text,PRIMARY KEY (alias,version,version_pattern,replacement,replacement_major_version,replacement_minor_version,replacement_label_version,replacement_channel,rolling));
CREATE TABLE operating_systems (id integer PRIMARY KEY AUTOINCREMENT,name text,release_id text,major_version text,minor_version text,label_version text,codename text,channel text,eol_date datetime,eoas_date datetime);
CREATE TABLE package_cpes (cpe_id integer,package_id integer,PRIMARY KEY (cpe_id,package_id));
CREATE TABLE packages (id integer PRIMARY KEY AUTOINCREMENT,ecosystem text,name text);
CREATE TABLE providers (id text,version text,processor text,date_captured datetime,input_digest text,PRIMARY KEY (id));
CREATE TABLE unaffected_cpe_handles (id integer PRIMARY KEY AUTOINCREMENT,vulnerability_id integer NOT NULL,cpe_id integer,blob_id integer);
CREATE TABLE unaffected_package_handles (id integer PRIMARY KEY AUTOINCREMENT,vulnerability_id integer NOT NULL,operating_system_id integer,package_id integer,blob_id integer);
CREATE TABLE vulnerability_handles (id integer PRIMARY KEY AUTOINCREMENT,name text NOT NULL,status text NOT NULL,published_date datetime,modified_date datetime,withdrawn_date datetime,provider_id text NOT NULL,blob_id integer);
INSERT INTO "affected_package_handles" VALUES(1,1,1,1,2);
INSERT INTO "affected_package_handles" VALUES(2,2,1,2,4);
INSERT INTO "blobs" VALUES(1,'{"id":"CVE-2099-0001","description":"An invented flaw: a bell rings twice.","refs":[{"url":"https://bell.example/advisory/1"}],"severities":[{"scheme":"CHML","value":"critical","rank":1}]}');
INSERT INTO "blobs" VALUES(2,'{"ranges":[{"version":{"type":"apk","constraint":"< 1.2.4-r0"},"fix":{"version":"1.2.4-r0","state":"fixed"}}]}');
INSERT INTO "blobs" VALUES(3,'{"id":"CVE-2099-0003","description":"An invented flaw without a fix.","refs":[{"url":"https://buoy.example/advisory/3"}],"severities":[{"scheme":"CHML","value":"low","rank":1}]}');
INSERT INTO "blobs" VALUES(4,'{"ranges":[{"version":{"type":"apk","constraint":">= 0.9.0-r0"},"fix":{"state":"not-fixed"}}]}');
INSERT INTO "db_metadata" VALUES('2026-11-28 00:01:57+00:00',6,1,10);
INSERT INTO "operating_systems" VALUES(1,'alpine','','3','20','','','',NULL,NULL);
INSERT INTO "packages" VALUES(1,'apk','bell');
INSERT INTO "packages" VALUES(2,'apk','buoy');
INSERT INTO "providers" VALUES('alpine','1','by hand','2026-11-28 00:01:57.266690812+00:00','');
INSERT INTO "vulnerability_handles" VALUES(1,'CVE-2099-0001','active',NULL,NULL,NULL,'alpine',1);
INSERT INTO "vulnerability_handles" VALUES(2,'CVE-2099-0003','active',NULL,NULL,NULL,'alpine',3);
