"""The gateway: public HTTPS JSON in front, gRPC behind. Owns no data; calls every service; never decides what a caller may read."""
