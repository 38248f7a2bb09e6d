/** The command line: options in, one library call, words out. */
@NullMarked
package dev.imago.cli;

import org.jspecify.annotations.NullMarked;
