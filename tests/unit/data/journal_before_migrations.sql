BEGIN TRANSACTION;
CREATE TABLE events (
	video_id VARCHAR(40) NOT NULL, 
	seq INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	step VARCHAR(40), 
	beat_index INTEGER, 
	data JSON NOT NULL, 
	PRIMARY KEY (video_id, seq), 
	FOREIGN KEY(video_id) REFERENCES videos (id)
);
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',1,1.79552860133508086206e+09,'video.accepted',NULL,NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',2,1.79552860134269595153e+09,'video.started',NULL,NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',3,1.79552860134501218788e+09,'phase.done',NULL,NULL,'{"phase": "references", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',4,1.79552860136477518077e+09,'step.started','image/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',5,1.79552860136580514911e+09,'step.started','image/1',1,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',6,1.79552860136623287194e+09,'step.started','music',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',7,1.79552860142682290073e+09,'step.done','image/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',8,1.795528601427533865e+09,'step.done','image/1',1,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',9,1.79552860144025278089e+09,'step.started','chunk/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',10,1.79552860144268941876e+09,'phase.done',NULL,NULL,'{"phase": "storyboard", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',11,1795528601.47641,'step.done','music',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',12,1.79552860157101488113e+09,'step.done','chunk/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',13,1.79552860177317309383e+09,'step.started','music_fit',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',14,1.79552860183793973922e+09,'step.done','music_fit',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',15,1.79552860184103035929e+09,'phase.done',NULL,NULL,'{"phase": "music", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',16,1.79552860185620832443e+09,'step.started','last_frame/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',17,1.79552860186464142804e+09,'step.done','last_frame/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',18,1.79552860186789870261e+09,'step.started','chunk/1',1,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',19,1.79552860197829461091e+09,'step.done','chunk/1',1,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',20,1.79552860198128342627e+09,'chain.done',NULL,NULL,'{"beats": [0, 1], "complete": true, "seconds": 0.636}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',21,1.79552860199389314652e+09,'phase.done',NULL,NULL,'{"phase": "chunks", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',22,1.79552860200030684465e+09,'step.started','stitch',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',23,1.79552860200887894632e+09,'step.done','stitch',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',24,1.79552860201172971728e+09,'phase.done',NULL,NULL,'{"phase": "stitch", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b',25,1.79552860201325774195e+09,'video.completed',NULL,NULL,'{"error": null}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',1,1.7955286020164823532e+09,'video.accepted',NULL,NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',2,1.79552860201794505122e+09,'video.started',NULL,NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',3,1.79552860202022671696e+09,'phase.done',NULL,NULL,'{"phase": "references", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',4,1.79552860202217221255e+09,'step.started','image/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',5,1.79552860202327609065e+09,'step.started','image/1',1,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',6,1.79552860202378177642e+09,'step.started','music',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',7,1.79552860207645821567e+09,'step.done','image/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',8,1.79552860207695031162e+09,'step.done','image/1',1,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',9,1.79552860207709884645e+09,'step.done','music',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',10,1.79552860207879018787e+09,'step.started','music_fit',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',11,1.79552860207881450653e+09,'step.done','music_fit',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',12,1.79552860208187890049e+09,'phase.done',NULL,NULL,'{"phase": "storyboard", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',13,1.79552860208347415927e+09,'step.started','chunk/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',14,1.79552860208523297307e+09,'phase.done',NULL,NULL,'{"phase": "music", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',15,1.79552860218657159806e+09,'step.failed','chunk/0',0,'{"code": "provider_rejected", "message": "refused"}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',16,1.79552860219090867043e+09,'step.failed','chunk/1',1,'{"code": "upstream_failed", "message": "not attempted, because step chunk/0 of beat 0 failed: refused"}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',17,1.79552860219362831113e+09,'chain.done',NULL,NULL,'{"beats": [0, 1], "complete": false, "seconds": 0.173}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',18,1.79552860219887685773e+09,'phase.done',NULL,NULL,'{"phase": "chunks", "status": "failed", "error": "chunks step chunk/0 of beat 0 failed at provider ''simulated'': refused; chunks step chunk/1 of beat 1 failed at provider ''simulated'': not attempted, because step chunk/0 of beat 0 failed: refused"}');
INSERT INTO "events" VALUES('vid_01a20dd8319f6ab9a3ebf0270930',19,1.79552860220058846472e+09,'video.failed',NULL,NULL,'{"error": "chunks step chunk/0 of beat 0 failed at provider ''simulated'': refused (0 of 2 chunks were made and kept)"}');
INSERT INTO "events" VALUES('vid_01a20dd83259e86f306f5913e5a7',1,1.79552860220279455181e+09,'video.accepted',NULL,NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8325b176dc8ae3fae689f',1,1795528602.2045,'video.accepted',NULL,NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83259e86f306f5913e5a7',2,1.79552860220453238491e+09,'video.started',NULL,NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83259e86f306f5913e5a7',3,1.79552860220632648467e+09,'phase.done',NULL,NULL,'{"phase": "references", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd83259e86f306f5913e5a7',4,1.79552860220911598204e+09,'step.started','image/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',1,1.79552860220910358432e+09,'video.accepted',NULL,NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8325b176dc8ae3fae689f',2,1.79552860220913362504e+09,'video.started',NULL,NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8325b176dc8ae3fae689f',3,1.79552860220984530446e+09,'phase.done',NULL,NULL,'{"phase": "references", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd83259e86f306f5913e5a7',5,1.79552860221149349212e+09,'step.started','image/1',1,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83259e86f306f5913e5a7',6,1.7955286022116029262e+09,'step.started','music',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83265ce4aeb1a41e95f66',1,1.7955286022136230469e+09,'video.accepted',NULL,NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',2,1.79552860221365284914e+09,'video.started',NULL,NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',3,1.7955286022144589424e+09,'phase.done',NULL,NULL,'{"phase": "references", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd8325b176dc8ae3fae689f',4,1.79552860221345090868e+09,'step.started','image/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8325b176dc8ae3fae689f',5,1.79552860221498274801e+09,'step.started','music',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',4,1.79552860221667480466e+09,'step.started','image/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',5,1.79552860221675705905e+09,'step.started','music',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83259e86f306f5913e5a7',7,1.79552860226346898083e+09,'step.done','image/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83259e86f306f5913e5a7',8,1.79552860226802587506e+09,'step.done','image/1',1,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83259e86f306f5913e5a7',9,1.79552860226826143264e+09,'step.done','music',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8325b176dc8ae3fae689f',6,1.79552860226980686188e+09,'step.done','image/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',6,1.79552860227064180372e+09,'step.done','image/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83259e86f306f5913e5a7',10,1.79552860227089619636e+09,'step.started','chunk/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83259e86f306f5913e5a7',11,1.79552860227424502378e+09,'step.started','music_fit',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83259e86f306f5913e5a7',12,1.79552860227427577973e+09,'step.done','music_fit',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8325b176dc8ae3fae689f',7,1.795528602305306673e+09,'step.done','music',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',7,1.79552860230546069142e+09,'step.done','music',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8325b176dc8ae3fae689f',8,1.79552860230807113644e+09,'step.started','chunk/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',8,1.79552860230822563169e+09,'step.started','chunk/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83259e86f306f5913e5a7',13,1795528602.27603,'phase.done',NULL,NULL,'{"phase": "storyboard", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd8325b176dc8ae3fae689f',9,1.79552860230656814569e+09,'phase.done',NULL,NULL,'{"phase": "storyboard", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd83259e86f306f5913e5a7',14,1.79552860230712509155e+09,'phase.done',NULL,NULL,'{"phase": "music", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',9,1.79552860230719828604e+09,'phase.done',NULL,NULL,'{"phase": "storyboard", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd8325b176dc8ae3fae689f',10,1.79552860231183147431e+09,'step.started','music_fit',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8325b176dc8ae3fae689f',11,1.79552860233404135703e+09,'step.done','music_fit',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',10,1.79552860230892252918e+09,'step.started','music_fit',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',11,1.79552860233492589002e+09,'step.done','music_fit',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd8325b176dc8ae3fae689f',12,1.79552860233890795708e+09,'phase.done',NULL,NULL,'{"phase": "music", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',12,1.79552860233930087086e+09,'phase.done',NULL,NULL,'{"phase": "music", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',13,1.79552860241376948356e+09,'step.done','chunk/0',0,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',14,1.79552860241733717918e+09,'chain.done',NULL,NULL,'{"beats": [0], "complete": true, "seconds": 0.203}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',15,1.79552860242183613776e+09,'phase.done',NULL,NULL,'{"phase": "chunks", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',16,1.79552860242762732509e+09,'step.started','stitch',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',17,1.79552860243520975109e+09,'step.done','stitch',NULL,'{}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',18,1.79552860243818807606e+09,'phase.done',NULL,NULL,'{"phase": "stitch", "status": "success", "error": null}');
INSERT INTO "events" VALUES('vid_01a20dd83260ea84f1606884e2a1',19,1.79552860244001102453e+09,'video.completed',NULL,NULL,'{"error": null}');
CREATE TABLE phases (
	video_id VARCHAR(40) NOT NULL, 
	phase VARCHAR(12) NOT NULL, 
	status VARCHAR(10) NOT NULL, 
	output JSON NOT NULL, 
	cost FLOAT NOT NULL, 
	duration FLOAT NOT NULL, 
	error TEXT, 
	finished_at FLOAT NOT NULL, 
	PRIMARY KEY (video_id, phase), 
	FOREIGN KEY(video_id) REFERENCES videos (id)
);
INSERT INTO "phases" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','plan','success','{"title": "A lighthouse in a storm", "archetype": "mystery_atmosphere", "beats": 2}',0.0,1.72977447509765625e-02,NULL,1.79552860133507418633e+09);
INSERT INTO "phases" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','references','success','{"beats": [{"beat_index": 0, "role": "reference", "image": "storyboard"}, {"beat_index": 1, "role": "follower", "of": 0}]}',0.0,0.0,NULL,1.79552860134515547747e+09);
INSERT INTO "phases" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','storyboard','success','{"images": [{"beat_index": 0, "digest": "fc73de6dd25c52fb707b046d191ea4c0c25003ae9bb9a7d0bae2f0d10a581212"}, {"beat_index": 1, "digest": "e39feab3354a5416d6bd7ede1359b27792490c1d3fd0773a5d3ffcb6981ffa5a"}]}',1.0,0.0627586841583252,NULL,1.79552860144276404379e+09);
INSERT INTO "phases" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','music','success','{"digest": "da82f995b569f63028c8c5d35dec43626347c6a79eba0b3e483b1a10d40a130c", "seconds": 10.0}',0.5,4.71706867218017578125e-01,NULL,1.79552860184108757971e+09);
INSERT INTO "phases" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','chunks','success','{"chunks": [{"beat_index": 0, "digest": "ff6f26fd43c91419348f0ddc86e3aa095cf801d5a56750b3469afbc2390d900d"}, {"beat_index": 1, "digest": "05353a9266eedde5b11d3443641b814bbdb1b19744a539090018688f89a5baf4"}]}',1.0,5.38041830062866210937e-01,NULL,1.79552860199396133429e+09);
INSERT INTO "phases" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','stitch','success','{"digest": "88c93842d1758e512d211eb8140af1bc98a5c3084c8906597f5a062d6bd79fed", "frames": 240, "normalised": 0}',0.0,8.572101593017578125e-03,NULL,1.79552860201179623599e+09);
INSERT INTO "phases" VALUES('vid_01a20dd8319f6ab9a3ebf0270930','plan','success','{"title": "A lighthouse in a storm", "archetype": "mystery_atmosphere", "beats": 2}',0.0,7.49111175537109375e-04,NULL,1.79552860201647567755e+09);
INSERT INTO "phases" VALUES('vid_01a20dd8319f6ab9a3ebf0270930','references','success','{"beats": [{"beat_index": 0, "role": "reference", "image": "storyboard"}, {"beat_index": 1, "role": "follower", "of": 0}]}',0.0,0.0,NULL,1.79552860202028656002e+09);
INSERT INTO "phases" VALUES('vid_01a20dd8319f6ab9a3ebf0270930','storyboard','success','{"images": [{"beat_index": 0, "digest": "6a2283b3eb47e388a3bd55eac18b0d3eec04264780f9630c956cb5bd65463132"}, {"beat_index": 1, "digest": "547602ddef17d0302f21afc096ce55ce363f136c259451f1a338bf68b705498a"}]}',1.0,5.477809906005859375e-02,NULL,1.79552860208195447918e+09);
INSERT INTO "phases" VALUES('vid_01a20dd8319f6ab9a3ebf0270930','music','success','{"digest": "da82f995b569f63028c8c5d35dec43626347c6a79eba0b3e483b1a10d40a130c", "seconds": 10.0}',0.5,5.50327301025390625e-02,NULL,1.79552860208528518672e+09);
INSERT INTO "phases" VALUES('vid_01a20dd8319f6ab9a3ebf0270930','chunks','failed','{"chunks": []}',0.0,0.0,'chunks step chunk/0 of beat 0 failed at provider ''simulated'': refused; chunks step chunk/1 of beat 1 failed at provider ''simulated'': not attempted, because step chunk/0 of beat 0 failed: refused',1.79552860219894099228e+09);
INSERT INTO "phases" VALUES('vid_01a20dd83259e86f306f5913e5a7','plan','success','{"title": "A lighthouse in a storm", "archetype": "mystery_atmosphere", "beats": 2}',0.0,8.800029754638671875e-04,NULL,1.79552860220278859143e+09);
INSERT INTO "phases" VALUES('vid_01a20dd8325b176dc8ae3fae689f','plan','success','{"title": "A lighthouse in a storm", "archetype": "mystery_atmosphere", "beats": 1}',0.0,4.749298095703125e-04,NULL,1.79552860220449638363e+09);
INSERT INTO "phases" VALUES('vid_01a20dd83259e86f306f5913e5a7','references','success','{"beats": [{"beat_index": 0, "role": "reference", "image": "storyboard"}, {"beat_index": 1, "role": "follower", "of": 0}]}',0.0,0.0,NULL,1.79552860220635962483e+09);
INSERT INTO "phases" VALUES('vid_01a20dd83260ea84f1606884e2a1','plan','success','{"title": "A lighthouse in a storm", "archetype": "mystery_atmosphere", "beats": 1}',0.0,4.482269287109375e-04,NULL,1.79552860220910024636e+09);
INSERT INTO "phases" VALUES('vid_01a20dd8325b176dc8ae3fae689f','references','success','{"beats": [{"beat_index": 0, "role": "reference", "image": "storyboard"}]}',0.0,0.0,NULL,1.79552860220986795422e+09);
INSERT INTO "phases" VALUES('vid_01a20dd83265ce4aeb1a41e95f66','plan','success','{"title": "A lighthouse in a storm", "archetype": "mystery_atmosphere", "beats": 1}',0.0,4.11510467529296875e-04,NULL,1795528602.21362);
INSERT INTO "phases" VALUES('vid_01a20dd83260ea84f1606884e2a1','references','success','{"beats": [{"beat_index": 0, "role": "reference", "image": "storyboard"}]}',0.0,0.0,NULL,1.79552860221448135373e+09);
INSERT INTO "phases" VALUES('vid_01a20dd83259e86f306f5913e5a7','storyboard','success','{"images": [{"beat_index": 0, "digest": "cae17bccabd35bca9929bf6d238a47326d30b1018d974757e5cd0b14d764c3ce"}, {"beat_index": 1, "digest": "10771b8264ff0ab0d9641f70790d0931b6e6856e44f2c342601837b7f0fd13ba"}]}',1.0,5.8909893035888671875e-02,NULL,1.79552860227610015875e+09);
INSERT INTO "phases" VALUES('vid_01a20dd8325b176dc8ae3fae689f','storyboard','success','{"images": [{"beat_index": 0, "digest": "cbae91bfadf447eb167e14733214bba8f4b0e7336db4efaba50be32a6fee7fae"}]}',0.5,5.6355953216552734375e-02,NULL,1.79552860230662178998e+09);
INSERT INTO "phases" VALUES('vid_01a20dd83259e86f306f5913e5a7','music','success','{"digest": "da82f995b569f63028c8c5d35dec43626347c6a79eba0b3e483b1a10d40a130c", "seconds": 10.0}',0.5,6.26728534698486328125e-02,NULL,1795528602.30715);
INSERT INTO "phases" VALUES('vid_01a20dd83260ea84f1606884e2a1','storyboard','success','{"images": [{"beat_index": 0, "digest": "307f9185901f5fae69896015cd949559fe87c3cc2bec1acfb2a6890381319f36"}]}',0.5,5.3966999053955078125e-02,NULL,1.79552860230721187586e+09);
INSERT INTO "phases" VALUES('vid_01a20dd8325b176dc8ae3fae689f','music','success','{"digest": "1309576c7a8a080a059be3370d02b692dda66310a1c71c6f5642f0d4e8d527b9", "seconds": 5.0}',0.5,1.190586090087890625e-01,NULL,1.79552860233897423739e+09);
INSERT INTO "phases" VALUES('vid_01a20dd83260ea84f1606884e2a1','music','success','{"digest": "1309576c7a8a080a059be3370d02b692dda66310a1c71c6f5642f0d4e8d527b9", "seconds": 5.0}',0.5,1.1816883087158203125e-01,NULL,1.79552860233934235569e+09);
INSERT INTO "phases" VALUES('vid_01a20dd83260ea84f1606884e2a1','chunks','success','{"chunks": [{"beat_index": 0, "digest": "d396908bc8eccfa3b3d57a6955ff2f713500e1cf060df71aff85e11fccf03633"}]}',0.5,1.05543851852416992187e-01,NULL,1.79552860242189860342e+09);
INSERT INTO "phases" VALUES('vid_01a20dd83260ea84f1606884e2a1','stitch','success','{"digest": "f91d504e3d6cfb58600b63163d23942ebf944cd08eb480d1973b449a72db2441", "frames": 120, "normalised": 0}',0.0,7.5824260711669921875e-03,NULL,1.79552860243825411793e+09);
CREATE TABLE schema_version (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(1);
CREATE TABLE steps (
	video_id VARCHAR(40) NOT NULL, 
	step VARCHAR(40) NOT NULL, 
	phase VARCHAR(12) NOT NULL, 
	beat_index INTEGER, 
	state VARCHAR(10) NOT NULL, 
	attempt INTEGER NOT NULL, 
	provider VARCHAR(80) NOT NULL, 
	provider_job_id VARCHAR(200), 
	input_key VARCHAR(64), 
	node VARCHAR(80), 
	intent_at FLOAT NOT NULL, 
	started_at FLOAT, 
	finished_at FLOAT, 
	artifact JSON, 
	cost FLOAT NOT NULL, 
	error_code VARCHAR(40), 
	error_message TEXT, 
	PRIMARY KEY (video_id, step), 
	FOREIGN KEY(video_id) REFERENCES videos (id)
);
INSERT INTO "steps" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','image/0','storyboard',0,'done',1,'simulated','sim_088586544f3f7245c3419e31',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860134592366216e+09,1.79552860136477518077e+09,1.79552860142682290073e+09,'{"digest": "fc73de6dd25c52fb707b046d191ea4c0c25003ae9bb9a7d0bae2f0d10a581212", "size": 230, "media_type": "image/png"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','image/1','storyboard',1,'done',1,'simulated','sim_d792b2572f688e6312d3b7f6',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860136572098727e+09,1.79552860136580514911e+09,1.795528601427533865e+09,'{"digest": "e39feab3354a5416d6bd7ede1359b27792490c1d3fd0773a5d3ffcb6981ffa5a", "size": 230, "media_type": "image/png"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','music','music',NULL,'done',1,'simulated','sim_d0da2f8bc1b0187afedf3624',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860136619567873e+09,1.79552860136623287194e+09,1795528601.47641,'{"digest": "dab656adb7c42f9aba59012eb0addacaf4ff1d7cdee14fef6f480e7d8fd547e2", "size": 49434, "media_type": "audio/flac"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','chunk/0','chunks',0,'done',1,'simulated','sim_7fc1f49be797439c03195be8',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860143991327283e+09,1.79552860144025278089e+09,1.79552860157101488113e+09,'{"digest": "ff6f26fd43c91419348f0ddc86e3aa095cf801d5a56750b3469afbc2390d900d", "size": 3675, "media_type": "video/mp4"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','music_fit','music',NULL,'done',1,'raypipe',NULL,NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860147753262521e+09,1.79552860177317309383e+09,1.79552860183793973922e+09,'{"digest": "da82f995b569f63028c8c5d35dec43626347c6a79eba0b3e483b1a10d40a130c", "size": 11180, "media_type": "audio/mp4"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','last_frame/0','chunks',0,'done',1,'raypipe',NULL,NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860157269811628e+09,1.79552860185620832443e+09,1.79552860186464142804e+09,'{"digest": "04c0219d6398832c2e00c2d890f4abfe9dad97eb55401c748c3c2566c7c82ae5", "size": 173, "media_type": "image/png"}',0.0,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','chunk/1','chunks',1,'done',1,'simulated','sim_a63d35878597a6a365dd56d0',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860186775279042e+09,1.79552860186789870261e+09,1.79552860197829461091e+09,'{"digest": "05353a9266eedde5b11d3443641b814bbdb1b19744a539090018688f89a5baf4", "size": 3659, "media_type": "video/mp4"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','stitch','stitch',NULL,'done',1,'raypipe',NULL,NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860199709820752e+09,1.79552860200030684465e+09,1.79552860200887894632e+09,'{"digest": "88c93842d1758e512d211eb8140af1bc98a5c3084c8906597f5a062d6bd79fed", "size": 18044, "media_type": "video/mp4"}',0.0,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd8319f6ab9a3ebf0270930','image/0','storyboard',0,'done',1,'simulated','sim_9664809877aed894487a5007',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860202211117743e+09,1.79552860202217221255e+09,1.79552860207645821567e+09,'{"digest": "6a2283b3eb47e388a3bd55eac18b0d3eec04264780f9630c956cb5bd65463132", "size": 230, "media_type": "image/png"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd8319f6ab9a3ebf0270930','image/1','storyboard',1,'done',1,'simulated','sim_54ff25c11e44b04624048030',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860202322602271e+09,1.79552860202327609065e+09,1.79552860207695031162e+09,'{"digest": "547602ddef17d0302f21afc096ce55ce363f136c259451f1a338bf68b705498a", "size": 230, "media_type": "image/png"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd8319f6ab9a3ebf0270930','music','music',NULL,'done',1,'simulated','sim_e459f3af0cdfc676d0bbea48',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860202375054359e+09,1.79552860202378177642e+09,1.79552860207709884645e+09,'{"digest": "dab656adb7c42f9aba59012eb0addacaf4ff1d7cdee14fef6f480e7d8fd547e2", "size": 49434, "media_type": "audio/flac"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd8319f6ab9a3ebf0270930','music_fit','music',NULL,'done',1,'raypipe',NULL,NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860207876300809e+09,1.79552860207879018787e+09,1.79552860207881450653e+09,'{"digest": "da82f995b569f63028c8c5d35dec43626347c6a79eba0b3e483b1a10d40a130c", "size": 11180, "media_type": "audio/mp4"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd8319f6ab9a3ebf0270930','chunk/0','chunks',0,'failed',1,'simulated','sim_7b0ea55c28553849dde65df5',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1795528602.08322,1.79552860208347415927e+09,1.79552860218657159806e+09,'null',0.0,'provider_rejected','refused');
INSERT INTO "steps" VALUES('vid_01a20dd8319f6ab9a3ebf0270930','chunk/1','chunks',1,'failed',1,'simulated',NULL,NULL,NULL,1.79552860219087672237e+09,NULL,1.79552860219090867043e+09,'null',0.0,'upstream_failed','not attempted, because step chunk/0 of beat 0 failed: refused');
INSERT INTO "steps" VALUES('vid_01a20dd83259e86f306f5913e5a7','image/0','storyboard',0,'done',1,'simulated','sim_2c80825ddb82d5f3e315b618',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860220906090743e+09,1.79552860220911598204e+09,1.79552860226346898083e+09,'{"digest": "cae17bccabd35bca9929bf6d238a47326d30b1018d974757e5cd0b14d764c3ce", "size": 230, "media_type": "image/png"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd83259e86f306f5913e5a7','image/1','storyboard',1,'done',1,'simulated','sim_2e2430e80f3cab68b06cebbb',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860221145677566e+09,1.79552860221149349212e+09,1.79552860226802587506e+09,'{"digest": "10771b8264ff0ab0d9641f70790d0931b6e6856e44f2c342601837b7f0fd13ba", "size": 230, "media_type": "image/png"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd83259e86f306f5913e5a7','music','music',NULL,'done',1,'simulated','sim_ec0f74dcb3f34748c1f2427f',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860221158027643e+09,1.7955286022116029262e+09,1.79552860226826143264e+09,'{"digest": "dab656adb7c42f9aba59012eb0addacaf4ff1d7cdee14fef6f480e7d8fd547e2", "size": 49434, "media_type": "audio/flac"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd8325b176dc8ae3fae689f','image/0','storyboard',0,'done',1,'simulated','sim_8732ec942a01f5e8524fe218',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860221341586107e+09,1.79552860221345090868e+09,1.79552860226980686188e+09,'{"digest": "cbae91bfadf447eb167e14733214bba8f4b0e7336db4efaba50be32a6fee7fae", "size": 230, "media_type": "image/png"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd8325b176dc8ae3fae689f','music','music',NULL,'done',1,'simulated','sim_9480ba6deb1ab1555dbf9e79',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860221495866775e+09,1.79552860221498274801e+09,1.795528602305306673e+09,'{"digest": "2e55c9b81bd3ef5ccc552e6814f0ddb1a0241cd8d816223254e75ae58fb65d15", "size": 30635, "media_type": "audio/flac"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd83260ea84f1606884e2a1','image/0','storyboard',0,'done',1,'simulated','sim_6e7064223a4c1bc7b9d36a72',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860221664738662e+09,1.79552860221667480466e+09,1.79552860227064180372e+09,'{"digest": "307f9185901f5fae69896015cd949559fe87c3cc2bec1acfb2a6890381319f36", "size": 230, "media_type": "image/png"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd83260ea84f1606884e2a1','music','music',NULL,'done',1,'simulated','sim_cdf93b9088d0c06a7a03c17a',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860221674323083e+09,1.79552860221675705905e+09,1.79552860230546069142e+09,'{"digest": "2e55c9b81bd3ef5ccc552e6814f0ddb1a0241cd8d816223254e75ae58fb65d15", "size": 30635, "media_type": "audio/flac"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd83259e86f306f5913e5a7','chunk/0','chunks',0,'accepted',1,'simulated','sim_170e984fc4df89b499d2e0cc',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860227075791361e+09,1.79552860227089619636e+09,NULL,'null',0.0,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd83259e86f306f5913e5a7','music_fit','music',NULL,'done',1,'raypipe',NULL,NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860227421832084e+09,1.79552860227424502378e+09,1.79552860227427577973e+09,'{"digest": "da82f995b569f63028c8c5d35dec43626347c6a79eba0b3e483b1a10d40a130c", "size": 11180, "media_type": "audio/mp4"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd8325b176dc8ae3fae689f','chunk/0','chunks',0,'accepted',1,'simulated','sim_1305475b4da8d31b1f8b047d',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860230791687962e+09,1.79552860230807113644e+09,NULL,'null',0.0,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd83260ea84f1606884e2a1','chunk/0','chunks',0,'done',1,'simulated','sim_1cc9baf2c1146ee50b40c4c9',NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860230814957621e+09,1.79552860230822563169e+09,1.79552860241376948356e+09,'{"digest": "d396908bc8eccfa3b3d57a6955ff2f713500e1cf060df71aff85e11fccf03633", "size": 3659, "media_type": "video/mp4"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd8325b176dc8ae3fae689f','music_fit','music',NULL,'done',1,'raypipe',NULL,NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860230885767941e+09,1.79552860231183147431e+09,1.79552860233404135703e+09,'{"digest": "1309576c7a8a080a059be3370d02b692dda66310a1c71c6f5642f0d4e8d527b9", "size": 6164, "media_type": "audio/mp4"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd83260ea84f1606884e2a1','music_fit','music',NULL,'done',1,'raypipe',NULL,NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860230891275401e+09,1.79552860230892252918e+09,1.79552860233492589002e+09,'{"digest": "1309576c7a8a080a059be3370d02b692dda66310a1c71c6f5642f0d4e8d527b9", "size": 6164, "media_type": "audio/mp4"}',0.5,NULL,NULL);
INSERT INTO "steps" VALUES('vid_01a20dd83260ea84f1606884e2a1','stitch','stitch',NULL,'done',1,'raypipe',NULL,NULL,'dffc9a4c43ac78435338b0b484f498bd7b97f69a5a3914a73c25291b',1.79552860242476820945e+09,1.79552860242762732509e+09,1.79552860243520975109e+09,'{"digest": "f91d504e3d6cfb58600b63163d23942ebf944cd08eb480d1973b449a72db2441", "size": 9893, "media_type": "video/mp4"}',0.0,NULL,NULL);
CREATE TABLE videos (
	id VARCHAR(40) NOT NULL, 
	state VARCHAR(12) NOT NULL, 
	spec JSON NOT NULL, 
	created_at FLOAT NOT NULL, 
	started_at FLOAT, 
	finished_at FLOAT, 
	result JSON, 
	cost FLOAT NOT NULL, 
	error_code VARCHAR(40), 
	error_message TEXT, 
	lease_owner VARCHAR(80), 
	lease_until FLOAT, 
	epoch INTEGER NOT NULL, 
	cancel_requested_at FLOAT, 
	crash_count INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "videos" VALUES('vid_01a20dd82ee5e7b63e91d3c3dd4b','completed','{"title": "A lighthouse in a storm", "prompt": "A lighthouse in a storm", "archetype": "mystery_atmosphere", "duration": 10.0, "size": {"width": 1280, "height": 720}, "fps": 24, "style": "cinematic", "mood": "dramatic", "seed": 3, "provider": "simulated", "options": {"image": 0.05, "clip": 0.1, "music": 0.05, "price": 0.5}, "followers_per_reference": 1, "beats": [{"beat_index": 0, "beat_id": "first_glimpse", "start": 0.0, "duration": 5.0, "prompt": "Close-up, a first glimpse: A lighthouse in a storm. Only one part shows, enough to make one want to see the rest. Strong light from one side, the other side lost. Style: cinematic. Mood: dramatic.", "shot_type": "close-up", "camera_movement": "slow push in", "continues": null, "reference_image": null}, {"beat_index": 1, "beat_id": "looking_back", "start": 5.0, "duration": 5.0, "prompt": "Closing long shot: A lighthouse in a storm. A last look across the scene, from as far away as it can still be recognised. A last strong light on what matters. Style: cinematic. Mood: dramatic.", "shot_type": "long shot", "camera_movement": "pan left", "continues": null, "reference_image": null}]}',1.79552860131769347193e+09,1.79552860131769347193e+09,1.79552860201323390004e+09,'{"digest": "88c93842d1758e512d211eb8140af1bc98a5c3084c8906597f5a062d6bd79fed", "size": 18044, "media_type": "video/mp4"}',2.5,NULL,NULL,'vm/22076',NULL,1,NULL,0);
INSERT INTO "videos" VALUES('vid_01a20dd8319f6ab9a3ebf0270930','failed','{"title": "A lighthouse in a storm", "prompt": "A lighthouse in a storm", "archetype": "mystery_atmosphere", "duration": 10.0, "size": {"width": 1280, "height": 720}, "fps": 24, "style": "cinematic", "mood": "dramatic", "seed": 3, "provider": "simulated", "options": {"image": 0.05, "clip": 0.1, "music": 0.05, "price": 0.5, "fail": {"chunk/0": "refused"}}, "followers_per_reference": 1, "beats": [{"beat_index": 0, "beat_id": "first_glimpse", "start": 0.0, "duration": 5.0, "prompt": "Close-up, a first glimpse: A lighthouse in a storm. Only one part shows, enough to make one want to see the rest. Strong light from one side, the other side lost. Style: cinematic. Mood: dramatic.", "shot_type": "close-up", "camera_movement": "slow push in", "continues": null, "reference_image": null}, {"beat_index": 1, "beat_id": "looking_back", "start": 5.0, "duration": 5.0, "prompt": "Closing long shot: A lighthouse in a storm. A last look across the scene, from as far away as it can still be recognised. A last strong light on what matters. Style: cinematic. Mood: dramatic.", "shot_type": "long shot", "camera_movement": "pan left", "continues": null, "reference_image": null}]}',1.79552860201565074919e+09,1.79552860201565074919e+09,1.79552860220056796072e+09,'null',1.5,'provider_rejected','chunks step chunk/0 of beat 0 failed at provider ''simulated'': refused (0 of 2 chunks were made and kept)','vm/22076',NULL,1,NULL,0);
INSERT INTO "videos" VALUES('vid_01a20dd83259e86f306f5913e5a7','running','{"title": "A lighthouse in a storm", "prompt": "A lighthouse in a storm", "archetype": "mystery_atmosphere", "duration": 10.0, "size": {"width": 1280, "height": 720}, "fps": 24, "style": "cinematic", "mood": "dramatic", "seed": 3, "provider": "simulated", "options": {"image": 0.05, "clip": 60.0, "music": 0.05, "price": 0.5}, "followers_per_reference": 1, "beats": [{"beat_index": 0, "beat_id": "first_glimpse", "start": 0.0, "duration": 5.0, "prompt": "Close-up, a first glimpse: A lighthouse in a storm. Only one part shows, enough to make one want to see the rest. Strong light from one side, the other side lost. Style: cinematic. Mood: dramatic.", "shot_type": "close-up", "camera_movement": "slow push in", "continues": null, "reference_image": null}, {"beat_index": 1, "beat_id": "looking_back", "start": 5.0, "duration": 5.0, "prompt": "Closing long shot: A lighthouse in a storm. A last look across the scene, from as far away as it can still be recognised. A last strong light on what matters. Style: cinematic. Mood: dramatic.", "shot_type": "long shot", "camera_movement": "pan left", "continues": null, "reference_image": null}]}',1.79552860220184493066e+09,1.79552860220184493066e+09,NULL,'null',0.0,NULL,NULL,'vm/22076',NULL,1,NULL,0);
INSERT INTO "videos" VALUES('vid_01a20dd8325b176dc8ae3fae689f','running','{"title": "A lighthouse in a storm", "prompt": "A lighthouse in a storm", "archetype": "mystery_atmosphere", "duration": 5.0, "size": {"width": 1280, "height": 720}, "fps": 24, "style": "cinematic", "mood": "dramatic", "seed": 3, "provider": "simulated", "options": {"image": 0.05, "clip": 60.0, "music": 0.05, "price": 0.5}, "followers_per_reference": 1, "beats": [{"beat_index": 0, "beat_id": "establishing_view", "start": 0.0, "duration": 5.0, "prompt": "Wide establishing shot: A lighthouse in a storm. Everything lies open to view, from the near edge to the far distance. Strong light from one side, the other side lost. Style: cinematic. Mood: dramatic.", "shot_type": "wide", "camera_movement": "crane up", "continues": null, "reference_image": null}]}',1.79552860220398664481e+09,1.79552860220398664481e+09,NULL,'null',0.0,NULL,NULL,'vm/22076',NULL,1,NULL,0);
INSERT INTO "videos" VALUES('vid_01a20dd83260ea84f1606884e2a1','completed','{"title": "A lighthouse in a storm", "prompt": "A lighthouse in a storm", "archetype": "mystery_atmosphere", "duration": 5.0, "size": {"width": 1280, "height": 720}, "fps": 24, "style": "cinematic", "mood": "dramatic", "seed": 3, "provider": "simulated", "options": {"image": 0.05, "clip": 0.1, "music": 0.05, "price": 0.5}, "followers_per_reference": 1, "beats": [{"beat_index": 0, "beat_id": "establishing_view", "start": 0.0, "duration": 5.0, "prompt": "Wide establishing shot: A lighthouse in a storm. Everything lies open to view, from the near edge to the far distance. Strong light from one side, the other side lost. Style: cinematic. Mood: dramatic.", "shot_type": "wide", "camera_movement": "crane up", "continues": null, "reference_image": null}]}',1.79552860220861959452e+09,1.79552860220861959452e+09,1.79552860243999505042e+09,'{"digest": "f91d504e3d6cfb58600b63163d23942ebf944cd08eb480d1973b449a72db2441", "size": 9893, "media_type": "video/mp4"}',1.5,NULL,NULL,'vm/22076',NULL,1,NULL,0);
INSERT INTO "videos" VALUES('vid_01a20dd83265ce4aeb1a41e95f66','queued','{"title": "A lighthouse in a storm", "prompt": "A lighthouse in a storm", "archetype": "mystery_atmosphere", "duration": 5.0, "size": {"width": 1280, "height": 720}, "fps": 24, "style": "cinematic", "mood": "dramatic", "seed": 3, "provider": "simulated", "options": {"image": 0.05, "clip": 0.1, "music": 0.05, "price": 0.5}, "followers_per_reference": 1, "beats": [{"beat_index": 0, "beat_id": "establishing_view", "start": 0.0, "duration": 5.0, "prompt": "Wide establishing shot: A lighthouse in a storm. Everything lies open to view, from the near edge to the far distance. Strong light from one side, the other side lost. Style: cinematic. Mood: dramatic.", "shot_type": "wide", "camera_movement": "crane up", "continues": null, "reference_image": null}]}',1.7955286022131798267e+09,NULL,NULL,'null',0.0,NULL,NULL,NULL,NULL,0,NULL,0);
CREATE INDEX videos_by_state ON videos (state, id);
COMMIT;