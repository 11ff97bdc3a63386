// Package redisstore is the only package that talks to Redis.
package redisstore
