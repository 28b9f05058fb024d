"""The lab: a device LAN, the gateway, its provider and the cloud, in network namespaces of their own."""
