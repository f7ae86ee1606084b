// Package live tests what those who watch a conversation are promised, from outside and over sockets: live rooms, boards and
// trips. What each of them is for is shown by the rows S4.3, S4.5 and S4.6 of package promises; here is what they have to bear:
// crashes, viewers who do not read, people who are thrown out, and crowds.
package live
