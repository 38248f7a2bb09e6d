/**
 * Storages and images that stand between others and change what passes: for tests of what happens
 * when a disk fails, for images inside larger files, and for copying what was read.
 */
@NullMarked
package dev.imago.filter;

import org.jspecify.annotations.NullMarked;
